/* What the published libzt wheels need before a newer Python can load them with ctypes. Load this with
 * RTLD_GLOBAL first. The interpreter's own symbols come first in the search order, so these are used only
 * where they are missing. */
#include <stdlib.h>

/* 1.8.4 was linked without the object that holds ZeroTier::LinuxNetLink: constructor, destructor, delRoute.
 * The stack is in user space and never touches the kernel's routes. */
void _ZN8ZeroTier12LinuxNetLinkC1Ev(void *self) { (void)self; }
void _ZN8ZeroTier12LinuxNetLinkD1Ev(void *self) { (void)self; }
void _ZN8ZeroTier12LinuxNetLink8delRouteERKNS_11InetAddressES3_S3_PKc(void *self, const void *target, const void *via,
                                                                    const void *source, const char *interface) {
    (void)self, (void)target, (void)via, (void)source, (void)interface;
}

/* Private names of CPython 3.9 that later versions dropped. Only the wheels' Python select() uses them, never
 * the C API that is driven here. */
#define GONE(name) void name(void) { abort(); }
GONE(_PyTime_AsTimeval)
GONE(_PyTime_AsTimeval_noraise)
GONE(_PyTime_FromSecondsObject)
GONE(_PyTime_GetMonotonicClock)
