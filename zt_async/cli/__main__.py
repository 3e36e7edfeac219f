"""``python -m zt_async.cli`` is ``zt``."""

from zt_async.cli import main

main()
