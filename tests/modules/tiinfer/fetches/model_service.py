"""Fetches the URLs that requests name, by each of urllib's ways."""

import logging
import urllib

import tiinfer


class Fetches(tiinfer.Model):
    def predict(self, request):
        try:
            response = urllib.request.urlopen(request["url"])
            return {"text": response.read().decode("utf-8", "replace")}
        except Exception as e:
            logging.error("Preprocess failed: %s" % (e))
            return {"error": "preprocess failed", "message": str(e)}
