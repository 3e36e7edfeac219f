"""The network controller's decisions, without I/O: records, addresses, configurations. vl2.md 8."""
