"""Where images come from: one file per data set.

Each has ``CLASSES``, ``MEAN`` and ``STD`` (of pixels in [0, 1], per channel), ``AUGMENTATION`` (its
usual one, a key of :data:`swim.data.augmentation.AUGMENTATIONS`), ``HELP``, and
``load(root, download)``, which returns uint8 images (N, C, H, W) and int64 labels (N,) as
``train_images``, ``train_labels``, ``test_images`` and ``test_labels``. A user's own images
(``npz``, ``folder``) have only ``load(own)``, which returns the same.
"""
