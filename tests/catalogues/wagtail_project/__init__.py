"""A real Wagtail shop with shopgen installed into it. Run by tests/catalogues/test_real_shops.py."""
