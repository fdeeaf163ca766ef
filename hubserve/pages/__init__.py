"""Pages for people: the front page, and Swagger UI at ``/docs``; both come from this machine alone."""
