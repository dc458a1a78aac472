#include <stddef.h>
#include "native.h"
