"""Ensembles: dataflows of served models that the gateway computes."""
