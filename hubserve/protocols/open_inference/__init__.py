"""The Open Inference Protocol, version 2, with Triton's extensions.

``core`` is the protocol independent of its transport; ``http`` and ``grpc`` carry it and import from ``core``, never the reverse.
"""
