/*
 * The unwinder that std asks for, with nothing in it.
 *
 * Release builds abort on panic, so no frame is ever unwound and a backtrace is always empty.
 * packaging/musl-crt.sh puts this into libunwind.a for the static musl build.
 */
typedef void *(*trace_fn)(void *context, void *argument);

int _Unwind_Backtrace(trace_fn trace, void *argument)
{
	(void)trace;
	(void)argument;
	return 5; /* _URC_END_OF_STACK */
}

void *_Unwind_FindEnclosingFunction(void *address)
{
	(void)address;
	return 0;
}

unsigned long _Unwind_GetCFA(void *context)
{
	(void)context;
	return 0;
}

/*
 * The rest is only named by std's personality routine, which nothing calls; some linkers (gold) want it all
 * the same, since they look for what is missing before they drop what is not used.
 */
void *_Unwind_GetLanguageSpecificData(void *context)
{
	(void)context;
	return 0;
}

unsigned long _Unwind_GetRegionStart(void *context)
{
	(void)context;
	return 0;
}

unsigned long _Unwind_GetTextRelBase(void *context)
{
	(void)context;
	return 0;
}

unsigned long _Unwind_GetDataRelBase(void *context)
{
	(void)context;
	return 0;
}

void _Unwind_SetGR(void *context, int index, unsigned long value)
{
	(void)context;
	(void)index;
	(void)value;
}

void _Unwind_SetIP(void *context, unsigned long value)
{
	(void)context;
	(void)value;
}

#ifdef __arm__

/* The ARM EHABI reads registers through these two and has no _Unwind_GetIP. */
int _Unwind_VRS_Get(void *context, int class, unsigned number, int kind, void *value)
{
	(void)context;
	(void)class;
	(void)number;
	(void)kind;
	*(unsigned *)value = 0;
	return 0;
}

int _Unwind_VRS_Set(void *context, int class, unsigned number, int kind, void *value)
{
	(void)context;
	(void)class;
	(void)number;
	(void)kind;
	(void)value;
	return 0;
}

/* Named by the .ARM.exidx sections of musl and libgcc. */
int __aeabi_unwind_cpp_pr0(void)
{
	return 9; /* _URC_FAILURE */
}

int __aeabi_unwind_cpp_pr1(void)
{
	return 9;
}

#else

unsigned long _Unwind_GetIP(void *context)
{
	(void)context;
	return 0;
}

unsigned long _Unwind_GetIPInfo(void *context, int *before)
{
	(void)context;
	*before = 0;
	return 0;
}

#endif
