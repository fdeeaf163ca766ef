"""Records of requests, the metrics and logs that are made of them."""
