"""Images from nothing: packages unpacked without their scripts, what programs need of others, and the usual extras.

No step runs anything of the image, so one for another architecture needs no emulation.
"""
