"""Fine-tuning of a large model on the shop's own photos: a LoRA for the engine ``diffusers``.

It lives beside the engine because it opens models by the engine's own rules (folder, manifest, loading), which ``ml``
may not know, and takes loop, folder, seeds and files from ``ml``. Importing this imports nothing heavy.
"""
