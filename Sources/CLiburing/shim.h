// For C alone: it asks the C library for other forms of its types than Swift's Foundation does.
#include <liburing.h>
