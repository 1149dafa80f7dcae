"""Training with differential privacy: what the finished generator can tell about any one product is bounded.

The discriminator alone sees photos. Its gradient is taken for each product apart, clipped, summed and noised; the
generator learns from the discriminator only, so that all it becomes is post-processing (DP-GAN as revisited by Bie et
al. 2023). Per-product gradients, clipping and accounting are those of Opacus (the extra ``privacy``).

=================  ==================================================================================
``accounting``     how much is spent, how much noise a budget needs
``units``          whose photos belong together
``plan``           noise, sampling rate and steps of a run; what to expect from so many products
``secret``         numbers that nobody can guess, for sampling and noise
``feed``           Poisson sampling of products
``learner``        the step
``session``        ties the above to the training loop
``rules``          everything that would void the guarantee, refused with the reason
``membership``     an attack on a finished run, to compare with what was promised
=================  ==================================================================================
"""
