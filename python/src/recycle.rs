//! The memory of large outputs, used again.
//!
//! A training loop makes the same arrays in every step. The C allocator gives large ones back to the system when they are freed and
//! asks for them again: a page fault for each 4 KiB, which takes longer than many a layer computes. NumPy lets arrays bring a
//! memory handler of their own (NEP 49): ours keeps what they free. An array that anybody still holds has not been freed.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::ffi::{CStr, c_char, c_void};
use std::ptr::{self, NonNull};
use std::sync::Mutex;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyCapsule;

/// Smaller arrays are the C allocator's.
pub(crate) const SMALLEST: usize = 32 << 10;
/// At most so much is kept: a step of DeepConvNet in float64, batch 100, makes 0.2 GB of arrays.
const KEPT_BYTES: usize = 256 << 20;
/// Lengths are rounded up to whole pages.
const PAGE: usize = 4096;
/// Before an array lies its [`Block`], in a cache line of its own.
const ALIGN: usize = 64;

/// Memory without an array, the last freed one last.
static FREE: Mutex<Free> = Mutex::new(Free { blocks: Vec::new(), bytes: 0 });

struct Free {
    blocks: Vec<Block>,
    bytes: usize,
}

/// Memory for an array of up to `capacity` bytes, which begin at `data`.
#[derive(Clone, Copy)]
struct Block {
    data: NonNull<u8>,
    capacity: usize,
}

// SAFETY: a block belongs to whoever has it; the pointer goes with it.
unsafe impl Send for Block {}

impl Block {
    fn layout(capacity: usize) -> Option<Layout> {
        Layout::from_size_align(capacity.checked_add(ALIGN)?, ALIGN).ok()
    }

    /// Fresh memory, zeros if asked for.
    fn new(capacity: usize, zeroed: bool) -> Option<Self> {
        let layout = Self::layout(capacity)?;
        // SAFETY: the layout's size is not zero; what is written lies within it, aligned.
        unsafe {
            let start = if zeroed { alloc_zeroed(layout) } else { alloc(layout) };
            let data = NonNull::new(start)?.add(ALIGN);
            let block = Self { data, capacity };
            data.cast::<Self>().sub(1).write(block);
            Some(block)
        }
    }

    /// The block of an array.
    ///
    /// # Safety
    /// `data` must be that of a block which has not been given back.
    unsafe fn of(data: NonNull<u8>) -> Self {
        // SAFETY: `new` wrote it there.
        unsafe { data.cast::<Self>().sub(1).read() }
    }

    /// Gives it back to the allocator.
    fn release(self) {
        let layout = Self::layout(self.capacity).expect("the layout it was made with");
        // SAFETY: allocated in `new` with this layout; nobody else has the block.
        unsafe { dealloc(self.data.sub(ALIGN).as_ptr(), layout) }
    }

    /// One that was freed before.
    fn recycled(capacity: usize) -> Option<Self> {
        // In a child forked while somebody held the lock it is never free: then nothing is recycled.
        let mut free = FREE.try_lock().ok()?;
        let at = free.blocks.iter().rposition(|block| block.capacity == capacity)?;
        free.bytes -= capacity;
        Some(free.blocks.remove(at))
    }

    /// Keeps it for another array, in the place of older ones if there are too many.
    fn recycle(self) {
        let Ok(mut free) = FREE.try_lock() else { return self.release() };
        free.bytes += self.capacity;
        free.blocks.push(self);
        while free.bytes > KEPT_BYTES {
            let oldest = free.blocks.remove(0);
            free.bytes -= oldest.capacity;
            oldest.release();
        }
    }
}

fn capacity(size: usize) -> usize {
    size.max(1).checked_next_multiple_of(PAGE).unwrap_or(usize::MAX)
}

fn data(block: Option<Block>) -> *mut c_void {
    block.map_or(ptr::null_mut(), |block| block.data.as_ptr().cast())
}

extern "C" fn malloc(_: *mut c_void, size: usize) -> *mut c_void {
    let capacity = capacity(size);
    data(Block::recycled(capacity).or_else(|| Block::new(capacity, false)))
}

extern "C" fn calloc(_: *mut c_void, count: usize, size: usize) -> *mut c_void {
    let Some(size) = count.checked_mul(size) else { return ptr::null_mut() };
    let capacity = capacity(size);
    let Some(block) = Block::recycled(capacity) else { return data(Block::new(capacity, true)) };
    // SAFETY: the block is ours and holds as many bytes.
    unsafe { block.data.write_bytes(0, size) };
    data(Some(block))
}

/// # Safety
/// `old` must come from these functions, or be NULL.
unsafe extern "C" fn realloc(context: *mut c_void, old: *mut c_void, size: usize) -> *mut c_void {
    let new = malloc(context, size);
    if let (Some(from), Some(to)) = (NonNull::new(old.cast::<u8>()), NonNull::new(new.cast())) {
        // SAFETY: the caller's promise; both hold what is copied, and are two blocks.
        unsafe {
            let block = Block::of(from);
            to.copy_from_nonoverlapping(from, size.min(block.capacity));
            block.recycle();
        }
    }
    new
}

/// # Safety
/// As [`realloc`]; the array is gone.
unsafe extern "C" fn free(_: *mut c_void, old: *mut c_void, _: usize) {
    if let Some(old) = NonNull::new(old.cast()) {
        // SAFETY: the caller's promise.
        unsafe { Block::of(old) }.recycle();
    }
}

/// NumPy's `PyDataMem_Handler`, with its `PyDataMemAllocator`.
#[repr(C)]
struct Handler {
    name: [c_char; 127],
    version: u8,
    context: *mut c_void,
    malloc: extern "C" fn(*mut c_void, usize) -> *mut c_void,
    calloc: extern "C" fn(*mut c_void, usize, usize) -> *mut c_void,
    realloc: unsafe extern "C" fn(*mut c_void, *mut c_void, usize) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void, *mut c_void, usize),
}

// SAFETY: never written to, and NumPy only reads it.
unsafe impl Sync for Handler {}

static HANDLER: Handler = Handler {
    name: {
        let (name, mut padded) = (b"kasoku", [0; 127]);
        let mut at = 0;
        while at < name.len() {
            padded[at] = name[at] as c_char;
            at += 1;
        }
        padded
    },
    version: 1,
    context: ptr::null_mut(),
    malloc,
    calloc,
    realloc,
    free,
};

/// `PyDataMem_SetHandler`: from now on arrays of this thread's context have this handler; returns the one before.
type SetHandler = unsafe extern "C" fn(*mut ffi::PyObject) -> *mut ffi::PyObject;

/// NumPy's function and our handler as it wants it.
struct Recycling {
    set: SetHandler,
    handler: Py<PyAny>,
}

impl Recycling {
    fn new(py: Python<'_>) -> PyResult<Self> {
        /// Its place in NumPy's table of functions (NumPy 1.22 and later).
        const SET_HANDLER: usize = 304;
        const HANDLER_NAME: &CStr = c"mem_handler";
        let core =
            py.import("numpy._core.multiarray").or_else(|_| py.import("numpy.core.multiarray"))?;
        let table = core.getattr("_ARRAY_API")?.cast_into::<PyCapsule>()?;
        let table = table.pointer_checked(None)?.cast::<*const c_void>();
        // SAFETY: the table lives as long as NumPy does, and this is the function's place in it; the capsule's pointer is to a
        // static, which its name says is a handler.
        unsafe {
            let set =
                std::mem::transmute::<*const c_void, SetHandler>(table.add(SET_HANDLER).read());
            let pointer = ptr::from_ref(&HANDLER).cast_mut().cast();
            let handler = ffi::PyCapsule_New(pointer, HANDLER_NAME.as_ptr(), None);
            Ok(Self { set, handler: Bound::from_owned_ptr_or_err(py, handler)?.unbind() })
        }
    }
}

/// Makes an array whose memory is recycled. `make` may call NumPy alone.
pub(crate) fn recycled<'py, R>(py: Python<'py>, make: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    static RECYCLING: PyOnceLock<Recycling> = PyOnceLock::new();
    let Recycling { set, handler } = RECYCLING.get_or_try_init(py, || Recycling::new(py))?;
    // SAFETY: a handler's capsule each time; both calls give a new reference, to the handler before.
    unsafe {
        let before = Bound::from_owned_ptr_or_err(py, set(handler.as_ptr()))?;
        let made = make();
        drop(Bound::from_owned_ptr_or_err(py, set(before.as_ptr()))?);
        made
    }
}
