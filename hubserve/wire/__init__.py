"""Frames, shared memory and TLS between the gateway and its instances. Depends on neither."""
