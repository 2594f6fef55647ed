# SPDX-License-Identifier: GPL-2.0-or-later
# A long kernel looks at `stop`, an int32 that another thread sets when the run is to end, and returns as soon as it is
# not 0; what it has made by then is of no use.

cdef extern from *:
    """
    #define MUSE_IS_SET(flag) (*(const volatile int *)(flag))
    """
    bint is_set "MUSE_IS_SET"(const int *flag) noexcept nogil
