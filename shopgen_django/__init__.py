"""Product pictures for Django shops: made, mended and published on the shop's own machines."""

__version__ = "0.1.0"
