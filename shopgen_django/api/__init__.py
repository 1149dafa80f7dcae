"""The HTTP API: thin views over the services, with policies of their own whatever the host project's DRF settings say.

Mount it with ``path("shopgen/api/", include("shopgen_django.api.urls"))``; every address is under ``v1/``.
"""
