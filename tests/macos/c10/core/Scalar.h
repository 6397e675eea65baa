// torch's own, in the form that it has on macOS: elsewhere it refuses the types of bits/types.h.
// All that it includes comes first, in the form of this system.
#pragma once

#include <c10/core/OptionalRef.h>
#include <c10/core/ScalarType.h>
#include <c10/core/SymBool.h>
#include <c10/core/SymFloat.h>
#include <c10/core/SymInt.h>
#include <c10/core/SymNodeImpl.h>
#include <c10/util/TypeCast.h>

#pragma push_macro("__linux__")
#undef __linux__
#define __APPLE__
#include_next <c10/core/Scalar.h>
#undef __APPLE__
#pragma pop_macro("__linux__")
