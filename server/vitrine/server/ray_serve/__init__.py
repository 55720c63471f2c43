"""Vitrine as an application of Ray Serve: `serve run deploy/ray/serve.yaml`."""

from vitrine.server.ray_serve.application import SERVICERS, application

__all__ = ["SERVICERS", "application"]
