"""The grey around a picture that does not fill a square."""

GREY = 114  # of 255 in each channel, the customary padding of YOLO detectors
