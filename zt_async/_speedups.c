/* The optional accelerator: three leaf functions, each with a twin in zt_async/accel/pure.py that gives the
 * same bytes. Only the stable ABI of CPython 3.11 is used. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define BLOCK 64
#define LANES 4 /* Salsa20 blocks computed at once */

/* ---- RFC 1071 checksum ---- */

static uint64_t fold(uint64_t sum) {
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

static unsigned big_endian(uint64_t word16) {
    const uint16_t one = 1;
    uint8_t first;
    memcpy(&first, &one, 1);
    return (unsigned)(first ? (word16 & 0xff) << 8 | word16 >> 8 : word16);
}

/* The sum is the same in either byte order up to a final swap (RFC 1071 section 2B), so native words are
 * added; 64 bits cannot overflow before 16 GiB. */
static unsigned ones_complement_sum(const uint8_t *data, size_t size) {
    uint64_t sum = 0;
    size_t i = 0;
    for (; i + 4 <= size; i += 4) {
        uint32_t word;
        memcpy(&word, data + i, 4);
        sum += word;
    }
    uint8_t tail[4] = {0};
    uint32_t word;
    memcpy(tail, data + i, size - i);
    memcpy(&word, tail, 4);
    return big_endian(fold(sum + word));
}

static PyObject *checksum(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    (void)module;
    if (count < 1 || count > 2) {
        PyErr_Format(PyExc_TypeError, "checksum() takes 1 or 2 positional arguments, not %zd", count);
        return NULL;
    }
    unsigned long long initial = 0;
    if (count == 2) {
        initial = PyLong_AsUnsignedLongLong(args[1]);
        if (initial == (unsigned long long)-1 && PyErr_Occurred())
            return NULL;
    }
    Py_buffer data;
    if (PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE))
        return NULL;
    uint64_t sum = ones_complement_sum(data.buf, (size_t)data.len);
    PyBuffer_Release(&data);
    return PyLong_FromUnsignedLong((unsigned long)fold(sum + fold(initial)));
}

/* ---- Salsa20 ---- */

/* One lane for each of LANES consecutive blocks. Without vector types the lanes are computed one by one. */
#if defined(__GNUC__)
typedef uint32_t lanes __attribute__((vector_size(4 * LANES)));
#define LANE_GROUPS 1
#else
typedef uint32_t lanes;
#define LANE_GROUPS LANES
#endif

typedef union {
    lanes vector[LANE_GROUPS];
    uint32_t lane[LANES];
} word;

#define ROTATE(x, n) ((x) << (n) | (x) >> (32 - (n)))
#define QUARTER(x, a, b, c, d)                                                                             \
    do {                                                                                                   \
        lanes t;                                                                                           \
        t = x[a] + x[d];                                                                                   \
        x[b] ^= ROTATE(t, 7);                                                                              \
        t = x[b] + x[a];                                                                                   \
        x[c] ^= ROTATE(t, 9);                                                                              \
        t = x[c] + x[b];                                                                                   \
        x[d] ^= ROTATE(t, 13);                                                                             \
        t = x[d] + x[c];                                                                                   \
        x[a] ^= ROTATE(t, 18);                                                                             \
    } while (0)

static uint32_t load32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void store32(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)(v >> 16);
    p[3] = (uint8_t)(v >> 24);
}

typedef struct {
    uint32_t state[16];
    uint64_t counter;
    int rounds;
} salsa20;

static void salsa20_start(salsa20 *s, const uint8_t key[32], const uint8_t nonce[8], int rounds, uint64_t counter) {
    static const uint32_t constants[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    for (int i = 0; i < 4; i++) {
        s->state[5 * i] = constants[i];
        s->state[1 + i] = load32(key + 4 * i);
        s->state[11 + i] = load32(key + 16 + 4 * i);
    }
    s->state[6] = load32(nonce);
    s->state[7] = load32(nonce + 4);
    s->state[8] = s->state[9] = 0; /* the counter, different in each lane */
    s->counter = counter;
    s->rounds = rounds;
}

/* The next LANES blocks of keystream. */
static void salsa20_next(salsa20 *s, uint8_t out[LANES * BLOCK]) {
    word start[16], end[16];
    for (int i = 0; i < 16; i++)
        for (int n = 0; n < LANES; n++)
            start[i].lane[n] = s->state[i];
    for (int n = 0; n < LANES; n++, s->counter++) {
        start[8].lane[n] = (uint32_t)s->counter;
        start[9].lane[n] = (uint32_t)(s->counter >> 32);
    }
    for (int g = 0; g < LANE_GROUPS; g++) {
        lanes x[16];
        for (int i = 0; i < 16; i++)
            x[i] = start[i].vector[g];
        for (int round = 0; round < s->rounds; round += 2) {
            QUARTER(x, 0, 4, 8, 12);
            QUARTER(x, 5, 9, 13, 1);
            QUARTER(x, 10, 14, 2, 6);
            QUARTER(x, 15, 3, 7, 11);
            QUARTER(x, 0, 1, 2, 3);
            QUARTER(x, 5, 6, 7, 4);
            QUARTER(x, 10, 11, 8, 9);
            QUARTER(x, 15, 12, 13, 14);
        }
        for (int i = 0; i < 16; i++)
            end[i].vector[g] = x[i] + start[i].vector[g];
    }
    for (int n = 0; n < LANES; n++)
        for (int i = 0; i < 16; i++)
            store32(out + n * BLOCK + 4 * i, end[i].lane[n]);
}

static void xor_bytes(uint8_t *restrict out, const uint8_t *restrict a, const uint8_t *restrict b, size_t size) {
    for (size_t i = 0; i < size; i++)
        out[i] = a[i] ^ b[i];
}

static void salsa20_crypt(salsa20 *s, uint8_t *out, const uint8_t *in, size_t size) {
    uint8_t keystream[LANES * BLOCK];
    for (size_t done = 0; done < size; done += sizeof keystream) {
        size_t part = size - done < sizeof keystream ? size - done : sizeof keystream;
        salsa20_next(s, keystream);
        xor_bytes(out + done, in + done, keystream, part);
    }
}

static PyObject *salsa20_xor(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    (void)module;
    if (count < 3 || count > 5) {
        PyErr_Format(PyExc_TypeError, "salsa20_xor() takes 3 to 5 positional arguments, not %zd", count);
        return NULL;
    }
    long rounds = 12;
    unsigned long long counter = 0;
    if (count > 3) {
        int overflow;  // leaves -1, which is refused below
        rounds = PyLong_AsLongAndOverflow(args[3], &overflow);
        if (rounds == -1 && PyErr_Occurred())
            return NULL;
    }
    if (count > 4) {
        counter = PyLong_AsUnsignedLongLong(args[4]);
        if (counter == (unsigned long long)-1 && PyErr_Occurred())
            return NULL;
    }
    if (rounds != 8 && rounds != 12 && rounds != 20) {
        PyErr_SetString(PyExc_ValueError, "Salsa20 has 8, 12 or 20 rounds");
        return NULL;
    }

    Py_buffer key, nonce, data;
    PyObject *result = NULL;
    if (PyObject_GetBuffer(args[0], &key, PyBUF_SIMPLE))
        return NULL;
    if (PyObject_GetBuffer(args[1], &nonce, PyBUF_SIMPLE))
        goto release_key;
    if (PyObject_GetBuffer(args[2], &data, PyBUF_SIMPLE))
        goto release_nonce;
    if (key.len != 32 || nonce.len != 8) {
        PyErr_SetString(PyExc_ValueError, "Salsa20 takes a key of 32 bytes and a nonce of 8");
        goto release_data;
    }
    result = PyBytes_FromStringAndSize(NULL, data.len);
    if (result) {
        salsa20 s;
        uint8_t *out = (uint8_t *)PyBytes_AsString(result);
        salsa20_start(&s, key.buf, nonce.buf, (int)rounds, counter);
        if (data.len < 65536) {
            salsa20_crypt(&s, out, data.buf, (size_t)data.len);
        } else {
            Py_BEGIN_ALLOW_THREADS
            salsa20_crypt(&s, out, data.buf, (size_t)data.len);
            Py_END_ALLOW_THREADS
        }
    }
release_data:
    PyBuffer_Release(&data);
release_nonce:
    PyBuffer_Release(&nonce);
release_key:
    PyBuffer_Release(&key);
    return result;
}

/* ---- the memory-hard hash of identities (vl1.md 1.5) ---- */

#define MEMORY_WORDS 262144
#define MEMORY_BYTES (8 * MEMORY_WORDS)

static void memory_hard(uint8_t digest[BLOCK], uint8_t *memory) {
    salsa20 s;
    uint8_t keystream[LANES * BLOCK], previous[BLOCK] = {0};
    salsa20_start(&s, digest, digest + 32, 20, 0);
    for (size_t at = 0; at < MEMORY_BYTES; at += BLOCK) {
        if (at % sizeof keystream == 0)
            salsa20_next(&s, keystream);
        xor_bytes(memory + at, keystream + at % sizeof keystream, previous, BLOCK);
        memcpy(previous, memory + at, BLOCK);
    }
    for (size_t w = 0; w < MEMORY_WORDS; w += 2) {
        size_t stream = w / 2 % LANES * BLOCK;
        if (stream == 0)
            salsa20_next(&s, keystream);
        const uint8_t *index = memory + 8 * w;
        uint8_t *mine = digest + 8 * (index[7] & 7), swap[8];
        uint8_t *theirs = memory + 8 * ((size_t)(index[13] & 3) << 16 | (size_t)index[14] << 8 | index[15]);
        memcpy(swap, theirs, 8);
        memcpy(theirs, mine, 8);
        memcpy(mine, swap, 8);
        for (int i = 0; i < BLOCK; i++)
            digest[i] ^= keystream[stream + (size_t)i];
    }
}

static PyObject *memory_hard_hash(PyObject *module, PyObject *argument) {
    (void)module;
    uint8_t digest[BLOCK];
    Py_buffer seed;
    if (PyObject_GetBuffer(argument, &seed, PyBUF_SIMPLE))
        return NULL;
    int fits = seed.len == BLOCK;
    if (fits)
        memcpy(digest, seed.buf, BLOCK);
    PyBuffer_Release(&seed);
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "the memory-hard hash starts from 64 bytes");
        return NULL;
    }
    uint8_t *memory = PyMem_Malloc(MEMORY_BYTES);
    if (!memory)
        return PyErr_NoMemory();
    Py_BEGIN_ALLOW_THREADS
    memory_hard(digest, memory);
    Py_END_ALLOW_THREADS
    PyMem_Free(memory);
    return PyBytes_FromStringAndSize((const char *)digest, BLOCK);
}

/* ---- the module ---- */

static PyMethodDef methods[] = {
    {"checksum", (PyCFunction)(void (*)(void))checksum, METH_FASTCALL,
     "checksum($module, data, initial=0, /)\n--\n\nRFC 1071 ones-complement sum, not inverted."},
    {"salsa20_xor", (PyCFunction)(void (*)(void))salsa20_xor, METH_FASTCALL,
     "salsa20_xor($module, key, nonce, data, rounds=12, counter=0, /)\n--\n\nSalsa20 of data."},
    {"memory_hard_hash", memory_hard_hash, METH_O,
     "memory_hard_hash($module, seed, /)\n--\n\nThe memory-hard hash of identities, from SHA-512 of the public key."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
#if !defined(Py_LIMITED_API) && defined(Py_mod_gil)
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "zt_async._speedups",
    .m_doc = "Accelerated twins of zt_async.accel.pure.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__speedups(void) {
    return PyModuleDef_Init(&definition);
}
