# SPDX-License-Identifier: GPL-2.0-or-later
"""Sky subtraction: mask, spectrum, line fit, continuum, subtraction. Functions on arrays and model objects.

The order of work for an exposure that comes in chunks of rows, each of one IFU and in the order of the table::

    mask, low_limit, threshold = create_sky_mask(image, bad, fraction, ignore)   # from the white-light image
    sky_mask = mask_in_spaxels(mask, xlo, ylo)
    for each chunk:                                                              # in threads
        count_slices(rows, counts)
        selected[:] = 1; select_rows(rows, sky_mask, selected)
        samples = usable_samples(rows, selected, flagged)
    accumulator.add(samples) for each chunk                                      # in order; twice to clip outliers
    model = fit_sky(spectrum, lines, lsf, counts, sampling, csampling)           # or continuum_of_spectrum (simple)
    for each chunk:                                                              # in threads
        rows = cut_rows(rows, continuum_cut(model.continuum, llo, lhi))
        subtract_continuum(rows, model.continuum); subtract_lines(rows, model.lines, lsf)
"""
