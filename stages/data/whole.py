"""Whether a photo file is whole, judged by the format's own structure: what decoders say of a cut file differs by version.

JPEG: ITU-T T.81, annex B. PNG: ISO/IEC 15948, section 5.
"""
