/* registry.h - the backends this library was built with. */
#ifndef RILL_KERNELS_REGISTRY_H
#define RILL_KERNELS_REGISTRY_H

#include "plan/backend.h"

/* "cpu", "cpu:4", "cuda:0", "auto" (NULL is auto): the backend, and in *spec what follows the
 * colon; a list of several (split.h): the backend that deals out, and *spec is the list. NULL and
 * *e filled (E_DEVICE or E_UNSUPPORTED) when there is none. auto is CUDA where there is a device,
 * else the CPU. */
const struct backend *backend_find(const char *device, const char **spec, struct err *e);

/* Whether the choice is ours, so that the CPU may stand in for a device that cannot run a plan. */
bool backend_is_auto(const char *device);

#endif
