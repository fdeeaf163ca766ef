"""What operators see of requests: a record of each, and those that receive it once the request has ended."""
