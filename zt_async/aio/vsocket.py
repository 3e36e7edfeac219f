"""What ``get_extra_info("socket")`` gives: the options and addresses of a socket, without a descriptor."""

from __future__ import annotations
