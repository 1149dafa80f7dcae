"""Training and sampling of image generators: pure PyTorch, no Django.

Nothing heavy is imported here; import what you need from the submodules:

* :mod:`shopgen_django.ml.config` - :class:`~shopgen_django.ml.config.TrainConfig`, every option of a run;
* :mod:`shopgen_django.ml.loop` - ``train(config, on_tick=..., on_sample=..., should_stop=...)``;
* :mod:`shopgen_django.ml.sample` - ``load_generator(folder)`` and pictures from it;
* :mod:`shopgen_django.ml.errors` - everything raised on purpose.
"""

from __future__ import annotations
