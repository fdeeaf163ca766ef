"""What mosec serves in do_nothing.py: what is sent comes back."""

import os

from mosec import Server, Worker


class DoNothing(Worker):
    """A worker that costs nothing."""

    def forward(self, data):
        """Return the same JSON value, or with batching the same list of several requests' values."""
        return data


if __name__ == "__main__":
    server = Server()
    server.append_worker(DoNothing, num=int(os.environ["WORKERS"]), max_batch_size=int(os.environ["REQUESTS_TOGETHER"]), max_wait_time=1)
    server.run()
