"""Settings whose keys are attributes, too."""

import yaml


class Settings(dict):
    def __getattr__(self, key):
        return self[key]

    def __setattr__(self, key, value):
        self[key] = value


def settings_of(values):
    found = Settings()
    for key, value in values.items():
        if isinstance(value, str):
            value = yaml.load(value)
        found[key] = settings_of(value) if isinstance(value, dict) else value
    return found
