"""Tells how many requests were computed together; a request ``{"fail": true}`` fails."""

import time

import tiinfer


class Together(tiinfer.Model):
    def preprocess(self, request):
        return request

    def predict(self, request):
        requests = request if isinstance(request, list) else [request]
        time.sleep(0.05)
        if any(each.get("fail") for each in requests):
            raise ValueError("asked to fail")
        answers = [{"n": each.get("n"), "together": len(requests), "list": isinstance(request, list)} for each in requests]
        if any(each.get("drop") for each in requests):
            return answers[:-1]
        return answers if isinstance(request, list) else answers[0]
