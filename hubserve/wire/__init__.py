"""Frames, shared memory and TLS between the gateway and its instances; depends on neither."""
