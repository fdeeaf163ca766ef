"""Batches, sequences and queues: which waiting requests are computed together, where and when."""
