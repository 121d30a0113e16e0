"""Outside bytes become checked arrays.

Images of data sets, labels and batches of a caller, tables of measured devices: whatever comes from
outside is read here once, checked, and refused with the file, the place and the remedy. A new data
set is one file in :mod:`swim.data.sources` and one line in :mod:`swim.settings.registry`.
"""
