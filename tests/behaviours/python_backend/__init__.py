"""Models of Triton's Python backend, in real instances, asked through the data plane."""
