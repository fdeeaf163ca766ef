"""Instance processes as the gateway sees them: start, dispatch, supervision."""
