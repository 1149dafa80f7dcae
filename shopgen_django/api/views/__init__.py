"""The views: each checks and translates, calls one service, and shows what came of it."""
