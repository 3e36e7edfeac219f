/* The load loops and the event bridge of a libzt peer, called through ctypes by libzt_node.py. They are C++
 * because a loop that crosses ctypes at each send would measure ctypes.
 *
 * Servers, one thread per connection:
 *   echo      sends back what it receives, until the client's end of stream
 *   sink      hashes what it receives until the end of stream, then answers count (8 bytes) and SHA-256 (32)
 *   discard   the same without the hash: answers the count only
 *   source    reads a request (size, seed, bytes a second; 8 bytes each), sends that many bytes of the pattern
 *             and then their SHA-256; a size of all ones streams without end and without hash
 *   hold      accepts and keeps connections without reading
 *   udp_echo  sends each datagram back
 * Integers are little-endian. Errors are errno values as libzt gives them. */
#include "sha256.h"
#include <arpa/inet.h>
#include <atomic>
#include <dlfcn.h>
#include <errno.h>
#include <mutex>
#include <stdio.h>
#include <string.h>
#include <thread>
#include <time.h>
#include <unistd.h>
#include <vector>

static const uint64_t ENDLESS = ~0ull;
static const size_t CHUNK = 65536;
static const double STALLED = 15; /* seconds without a byte after which a stream of lab_bulk fails */

static uint64_t now_ns() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
static void sleep_ns(uint64_t ns) {
    timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    nanosleep(&t, 0);
}

/* libzt */

static struct {
    int (*socket)(int, int, int), (*connect)(int, const void *, unsigned), (*bind)(int, const void *, unsigned);
    int (*listen)(int, int), (*accept)(int, void *, unsigned *), (*close)(int), (*shutdown)(int, int);
    ssize_t (*send)(int, const void *, size_t, int), (*recv)(int, void *, size_t, int);
    ssize_t (*sendto)(int, const void *, size_t, int, const void *, unsigned);
    ssize_t (*recvfrom)(int, void *, size_t, int, void *, unsigned *);
    int (*setsockopt)(int, int, int, const void *, unsigned), (*set_events)(void *);
    int *error;
} zts;

static int protocol_fd = 1;
static std::mutex protocol_lock;

struct Address {
    uint8_t bytes[28] = {0};
    unsigned size;
    int family;
    /* libzt's layouts are BSD's: a length byte, a family byte, and the numbers of Linux */
    Address(const char *ip, int port) {
        family = strchr(ip, ':') ? 10 : 2;
        size = family == 10 ? 28 : 16;
        bytes[0] = size, bytes[1] = family, bytes[2] = port >> 8, bytes[3] = port;
        inet_pton(family == 10 ? AF_INET6 : AF_INET, ip, bytes + (family == 10 ? 8 : 4));
    }
};

static void set_option(int fd, int level, int name, int value) { zts.setsockopt(fd, level, name, &value, sizeof value); }
static void no_delay(int fd) { set_option(fd, 6, 1, 1); }
static void set_timeout(int fd, double seconds) {
    struct { long s, us; } t = {(long)seconds, (long)(seconds * 1e6) % 1000000};
    zts.setsockopt(fd, 0xfff, 0x1005, &t, sizeof t); /* to send */
    zts.setsockopt(fd, 0xfff, 0x1006, &t, sizeof t); /* to receive */
}

static int dial(const Address &to, int *error) {
    int fd = zts.socket(to.family, 1, 0);
    if (fd < 0 || zts.connect(fd, to.bytes, to.size) < 0) {
        *error = *zts.error ? *zts.error : EIO;
        if (fd >= 0) zts.close(fd);
        return -1;
    }
    no_delay(fd);
    return fd;
}
static bool send_all(int fd, const void *data, size_t n) {
    for (const char *p = (const char *)data; n;) {
        ssize_t k = zts.send(fd, p, n, 0);
        if (k <= 0) return false;
        p += k, n -= k;
    }
    return true;
}
static bool receive_all(int fd, void *data, size_t n) {
    for (char *p = (char *)data; n;) {
        ssize_t k = zts.recv(fd, p, n, 0);
        if (k <= 0) return false;
        p += k, n -= k;
    }
    return true;
}

/* Bytes of a seed from an offset, a multiple of 8, on: the words of splitmix64. */
static void pattern(uint64_t seed, uint64_t offset, uint8_t *out, size_t n) {
    for (size_t at = 0; at < n; at += 8) {
        uint64_t z = seed + ((offset + at) / 8 + 1) * 0x9e3779b97f4a7c15;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        z ^= z >> 31;
        memcpy(out + at, &z, n - at < 8 ? n - at : 8);
    }
}

/* Two segments at a time, which are acknowledged at once, with even gaps and no catching up: a burst is what
 * upsets libzt (see ethernet_input). */
struct Pace {
    double rate; /* bytes a second; 0: as fast as it goes */
    uint64_t due = now_ns();
    size_t chunk() const { return rate ? 2 * 2740 : CHUNK; }
    void sent(size_t n) {
        if (!rate) return;
        due += (uint64_t)(n / rate * 1e9);
        uint64_t now = now_ns();
        if (now < due) sleep_ns(due - now);
        else due = now;
    }
};

/* Sends `size` bytes of the pattern; false on an error. */
static bool send_pattern(int fd, uint64_t size, uint64_t seed, double rate, Sha256 *hash, std::atomic<uint64_t> &sent) {
    Pace pace{rate};
    std::vector<uint8_t> buffer(pace.chunk());
    if (!hash) pattern(seed, 0, buffer.data(), buffer.size());
    for (uint64_t offset = 0; offset < size;) {
        size_t n = size - offset < buffer.size() ? size - offset : buffer.size();
        if (hash) {
            pattern(seed, offset, buffer.data(), n);
            hash->update(buffer.data(), n);
        }
        if (!send_all(fd, buffer.data(), n)) return false;
        offset += n, sent += n;
        pace.sent(n);
    }
    return true;
}

/* Repair */

/* libzt hands received IPv6 frames to its stack without taking the stack's lock (IPv4 ones with it). A frame that
 * arrives while the application is in a socket call then corrupts the connection: stalls, and a crash within
 * seconds of bulk. This stands before libzt's own function of that name (this library is loaded first, with
 * RTLD_GLOBAL) and takes the lock, unless the thread has it already: a neighbour solicitation is answered within
 * its own sending. What goes over the wire is the same. */
static signed char (*original_input)(void *frame, void *interface);
static pthread_mutex_t **stack_lock; /* null: leave libzt as it was published */

extern "C" signed char ethernet_input(void *frame, void *interface) {
    bool take = stack_lock && (*stack_lock)->__data.__owner != gettid();
    if (take) pthread_mutex_lock(*stack_lock);
    signed char result = original_input(frame, interface);
    if (take) pthread_mutex_unlock(*stack_lock);
    return result;
}

/* Events */

struct Event {
    int16_t code;
    uint64_t *node, *network, *interface;
    void *route;
    uint64_t *peer, *address;
    void *cache;
    int length;
};
extern "C" void lab_emit(const char *line, int n) {
    std::lock_guard<std::mutex> hold(protocol_lock);
    for (ssize_t k; n > 0; line += k, n -= k)
        if ((k = write(protocol_fd, line, n)) <= 0) return;
}
/* The wheels were built for Python, whose event handler is a C++ object with one virtual call. */
struct Director {
    virtual void on_zerotier_event(Event *e) {
        uint64_t *subject = e->node ? e->node : e->network ? e->network : e->interface ? e->interface : e->peer ? e->peer : e->address;
        char line[128];
        int n = snprintf(line, sizeof line, "{\"event\": %d, \"about\": %llu, \"at\": %.6f}\n", e->code,
                         subject ? (unsigned long long)*subject : 0, now_ns() / 1e9);
        lab_emit(line, n);
    }
    virtual ~Director() {}
};

/* Servers */

enum Mode { ECHO, SINK, DISCARD, SOURCE, HOLD, UDP_ECHO };

struct Server {
    Mode mode;
    int fd;
    std::atomic<uint64_t> received{0}, sent{0}, accepted{0}, open{0}, datagrams{0};
    std::mutex lock;
    std::vector<int> held;
};
static Server *servers[256];
static std::atomic<int> server_count{0};

static void serve_connection(Server *s, int fd) {
    std::vector<uint8_t> buffer(CHUNK);
    Sha256 hash;
    no_delay(fd);
    if (s->mode == SOURCE) {
        uint64_t request[3];
        uint8_t digest[32];
        if (receive_all(fd, request, sizeof request)) {
            bool endless = request[0] == ENDLESS;
            if (send_pattern(fd, request[0], request[1], request[2], endless ? 0 : &hash, s->sent)) {
                hash.digest(digest);
                send_all(fd, digest, sizeof digest);
            }
        }
    } else {
        struct { uint64_t count = 0; uint8_t digest[32]; } answer;
        ssize_t n;
        while ((n = zts.recv(fd, buffer.data(), buffer.size(), 0)) > 0) {
            answer.count += n, s->received += n;
            if (s->mode == SINK) hash.update(buffer.data(), n);
            if (s->mode == ECHO) {
                if (!send_all(fd, buffer.data(), n)) break;
                s->sent += n;
            }
        }
        hash.digest(answer.digest);
        if (n == 0 && s->mode != ECHO) send_all(fd, &answer, s->mode == SINK ? 40 : 8);
    }
    zts.close(fd);
    s->open--;
}
static void serve(Server *s) {
    std::vector<uint8_t> datagram(CHUNK);
    for (uint8_t from[128];;) {
        unsigned size = 28;
        if (s->mode == UDP_ECHO) {
            ssize_t n = zts.recvfrom(s->fd, datagram.data(), datagram.size(), 0, from, &size);
            if (n < 0) { sleep_ns(1000000); continue; }
            s->datagrams++, s->received += n;
            if (zts.sendto(s->fd, datagram.data(), n, 0, from, size) == n) s->sent += n;
            continue;
        }
        int fd = zts.accept(s->fd, from, &size);
        if (fd < 0) { sleep_ns(1000000); continue; }
        s->accepted++, s->open++;
        if (s->mode == HOLD) {
            std::lock_guard<std::mutex> hold(s->lock);
            s->held.push_back(fd);
        } else {
            std::thread(serve_connection, s, fd).detach();
        }
    }
}

/* Interface */

static std::vector<int> held;

extern "C" {

int lab_init(void *libzt, int fd, int repaired) {
    struct { void *slot; const char *name; } symbols[] = {
        {&zts.socket, "zts_bsd_socket"}, {&zts.connect, "zts_bsd_connect"}, {&zts.bind, "zts_bsd_bind"},
        {&zts.listen, "zts_bsd_listen"}, {&zts.accept, "zts_bsd_accept"}, {&zts.close, "zts_bsd_close"},
        {&zts.shutdown, "zts_bsd_shutdown"}, {&zts.send, "zts_bsd_send"}, {&zts.recv, "zts_bsd_recv"},
        {&zts.sendto, "zts_bsd_sendto"}, {&zts.recvfrom, "zts_bsd_recvfrom"},
        {&zts.setsockopt, "zts_bsd_setsockopt"}, {&zts.set_events, "zts_init_set_event_handler"},
        {&zts.error, "zts_errno"}, {&original_input, "ethernet_input"}, {&stack_lock, "lock_tcpip_core"}};
    protocol_fd = fd;
    for (auto &s : symbols)
        if (!(*(void **)s.slot = dlsym(libzt, s.name))) return -1;
    if (!repaired) stack_lock = 0;
    return 0;
}
int lab_events() { return zts.set_events(new Director); }

/* A server's number, or minus an errno. */
int lab_serve(int mode, const char *any, int port) {
    Address at(any, port);
    Server *s = new Server;
    s->mode = (Mode)mode;
    s->fd = zts.socket(at.family, mode == UDP_ECHO ? 2 : 1, 0);
    if (s->fd < 0) return -*zts.error;
    set_option(s->fd, 0xfff, 0x4, 1);
    /* or else the IPv6 socket takes the IPv4 traffic of that port too */
    if (at.family == 10) set_option(s->fd, 41, 27, 1);
    if (zts.bind(s->fd, at.bytes, at.size) < 0 || (mode != UDP_ECHO && zts.listen(s->fd, 255) < 0)) return -*zts.error;
    int number = server_count++;
    servers[number] = s;
    std::thread(serve, s).detach();
    return number;
}
void lab_server_stats(int number, uint64_t out[5]) {
    Server *s = servers[number];
    out[0] = s->received, out[1] = s->sent, out[2] = s->accepted, out[3] = s->open, out[4] = s->datagrams;
}
int lab_server_release(int number) {
    Server *s = servers[number];
    std::lock_guard<std::mutex> hold(s->lock);
    int n = s->held.size();
    for (int fd : s->held) zts.close(fd);
    s->held.clear();
    s->open -= n;
    return n;
}

/* Seconds, or minus an errno. A new interface has no route until its address has passed duplicate detection, so
 * EHOSTUNREACH is tried again for `patience` seconds. */
double lab_connect(const char *ip, int port, double patience) {
    uint64_t begin = now_ns(), until = begin + (uint64_t)(patience * 1e9);
    int error = 0, fd;
    while ((fd = dial(Address(ip, port), &error)) < 0) {
        if (error != EHOSTUNREACH || now_ns() >= until) return -(double)error;
        sleep_ns(5000000);
    }
    double seconds = (now_ns() - begin) / 1e9;
    zts.close(fd);
    return seconds;
}

struct Plan {
    uint64_t prefix_size;
    const uint8_t *prefix; /* sent first, outside the hash */
    uint64_t size, seed;
    double rate, timeout;
    int half_close;
};
struct Outcome {
    uint64_t sent, received;
    double seconds;
    int failed_in; /* 0 nothing, 1 connect, 2 send, 3 receive */
    int error, end_of_stream, tail_size;
    uint8_t sent_digest[32], received_digest[32]; /* of all that was received but the tail */
    uint8_t tail[64];
};
/* One connection: sends and, at the same time, receives. `tail` bytes at the end are kept out of the hash. */
void lab_exchange(const char *ip, int port, const Plan *plan, int tail, Outcome *out) {
    memset(out, 0, sizeof *out);
    uint64_t begin = now_ns();
    int fd = dial(Address(ip, port), &out->error);
    if (fd < 0) { out->failed_in = 1; return; }
    set_timeout(fd, plan->timeout);
    std::atomic<uint64_t> sent{0};
    std::atomic<bool> sending{true};
    int receive_error = 0;
    std::thread reader([&] {
        std::vector<uint8_t> buffer(CHUNK), kept;
        Sha256 hash;
        for (;;) {
            ssize_t n = zts.recv(fd, buffer.data(), buffer.size(), 0);
            if (n < 0 && *zts.error == EAGAIN && sending) continue;
            if (n < 0) receive_error = *zts.error;
            if (n == 0) out->end_of_stream = 1;
            if (n <= 0) break;
            out->received += n;
            kept.insert(kept.end(), buffer.data(), buffer.data() + n);
            if (kept.size() > (size_t)tail) {
                hash.update(kept.data(), kept.size() - tail);
                kept.erase(kept.begin(), kept.end() - tail);
            }
        }
        hash.digest(out->received_digest);
        out->tail_size = kept.size();
        memcpy(out->tail, kept.data(), kept.size());
    });
    Sha256 hash;
    bool ok = send_all(fd, plan->prefix, plan->prefix_size) &&
              send_pattern(fd, plan->size, plan->seed, plan->rate, &hash, sent);
    if (!ok) out->failed_in = 2, out->error = *zts.error;
    if (plan->half_close || !ok) zts.shutdown(fd, 1);
    hash.digest(out->sent_digest);
    sending = false;
    reader.join();
    if (ok && receive_error) out->failed_in = 3, out->error = receive_error;
    out->sent = sent;
    out->seconds = (now_ns() - begin) / 1e9;
    zts.close(fd);
}

struct Flow {
    uint64_t bytes = 0, begin = 0, end = 0;
    int error = 0;
};
static void upload(const char *ip, int port, double seconds, double rate, Flow *f) {
    int fd = dial(Address(ip, port), &f->error);
    if (fd < 0) return;
    Pace pace{rate};
    std::vector<uint8_t> buffer(pace.chunk());
    set_timeout(fd, STALLED);
    f->begin = now_ns();
    uint64_t until = f->begin + (uint64_t)(seconds * 1e9), answer;
    while (now_ns() < until) {
        if (!send_all(fd, buffer.data(), buffer.size())) { f->error = *zts.error; break; }
        pace.sent(buffer.size());
    }
    zts.shutdown(fd, 1);
    if (receive_all(fd, &answer, sizeof answer)) f->bytes = answer;
    else if (!f->error) f->error = *zts.error ? *zts.error : -1;
    f->end = now_ns();
    zts.close(fd);
}
static void download(const char *ip, int port, double seconds, double rate, Flow *f) {
    int fd = dial(Address(ip, port), &f->error);
    if (fd < 0) return;
    std::vector<uint8_t> buffer(CHUNK);
    uint64_t request[3] = {ENDLESS, 0, (uint64_t)rate};
    set_timeout(fd, STALLED);
    f->begin = now_ns();
    uint64_t until = f->begin + (uint64_t)(seconds * 1e9);
    if (!send_all(fd, request, sizeof request)) f->error = *zts.error;
    while (!f->error && now_ns() < until) {
        ssize_t n = zts.recv(fd, buffer.data(), buffer.size(), 0);
        if (n <= 0) f->error = n < 0 ? *zts.error : -1;
        else f->bytes += n;
    }
    f->end = now_ns();
    zts.close(fd);
}
/* For so many seconds `up` streams to a discard server and `down` streams from a source, at `rate` bytes a
 * second each. out: bytes and seconds up, bytes and seconds down, failed streams, an errno. */
void lab_bulk(const char *ip, int discard_port, int source_port, int up, int down, double seconds, double rate, double out[6]) {
    std::vector<Flow> flows(up + down);
    std::vector<std::thread> threads;
    for (int i = 0; i < up + down; i++)
        threads.emplace_back(i < up ? upload : download, ip, i < up ? discard_port : source_port, seconds, rate, &flows[i]);
    for (auto &t : threads) t.join();
    for (int direction = 0; direction < 2; direction++) {
        uint64_t bytes = 0, begin = ~0ull, end = 0;
        for (int i = direction ? up : 0; i < (direction ? up + down : up); i++) {
            Flow &f = flows[i];
            bytes += f.bytes;
            if (f.begin && f.begin < begin) begin = f.begin;
            if (f.end > end) end = f.end;
        }
        out[2 * direction] = bytes;
        out[2 * direction + 1] = end > begin ? (end - begin) / 1e9 : 0;
    }
    out[4] = out[5] = 0;
    for (Flow &f : flows)
        if (f.error) out[4]++, out[5] = f.error;
}

/* Round trips in microseconds; their number, or minus an errno of the connect. */
int lab_ping_pong(const char *ip, int port, int count, int size, double *us) {
    int error = 0, fd = dial(Address(ip, port), &error), i = 0;
    if (fd < 0) return -error;
    std::vector<uint8_t> buffer(size, 'x');
    set_timeout(fd, 10);
    for (; i < count; i++) {
        uint64_t begin = now_ns();
        if (!send_all(fd, buffer.data(), size) || !receive_all(fd, buffer.data(), size)) break;
        us[i] = (now_ns() - begin) / 1e3;
    }
    zts.close(fd);
    return i;
}

/* Datagrams one after the other, each with its own content, which must come back.
 * out: echoed, lost, wrong (a late echo of an earlier one is neither). us may be null. */
int lab_udp_echo(const char *ip, int port, int count, int size, uint64_t seed, double timeout, double *us, int out[3]) {
    Address to(ip, port), any(to.family == 10 ? "::" : "0.0.0.0", 0);
    std::vector<uint8_t> expected(size), got(CHUNK), earlier(size);
    std::vector<int> lost;
    memset(out, 0, 3 * sizeof *out);
    int fd = zts.socket(to.family, 2, 0);
    if (fd < 0 || zts.bind(fd, any.bytes, any.size) < 0) return -*zts.error;
    set_timeout(fd, timeout);
    for (int i = 0; i < count; i++) {
        pattern(seed + i, 0, expected.data(), size);
        uint64_t begin = now_ns();
        zts.sendto(fd, expected.data(), size, 0, to.bytes, to.size);
        for (;;) {
            uint8_t from[128];
            unsigned from_size = 28;
            ssize_t n = zts.recvfrom(fd, got.data(), got.size(), 0, from, &from_size);
            if (n < 0) { lost.push_back(i); break; }
            if (n == size && !memcmp(got.data(), expected.data(), size)) {
                if (us) us[out[0]] = (now_ns() - begin) / 1e3;
                out[0]++;
                break;
            }
            bool late = false;
            for (int k : lost) {
                pattern(seed + k, 0, earlier.data(), size);
                late = late || (n == size && !memcmp(got.data(), earlier.data(), size));
            }
            if (!late) { out[2]++; break; }
        }
    }
    out[1] = lost.size();
    zts.close(fd);
    return 0;
}

/* Connect to an echo server, one byte there and back, close; until `count` are done or the time is over.
 * out: done, failed, an errno, seconds. */
void lab_connect_rate(const char *ip, int port, int count, double seconds, double *us, double out[4]) {
    Address to(ip, port);
    uint64_t begin = now_ns(), until = begin + (uint64_t)(seconds * 1e9);
    int done = 0, failed = 0, error = 0;
    while (done < count && failed <= 20 && now_ns() < until) {
        uint64_t started = now_ns();
        int fd = dial(to, &error);
        char byte = 'x';
        if (fd < 0) { failed++; continue; }
        set_timeout(fd, 5);
        if (send_all(fd, &byte, 1) && receive_all(fd, &byte, 1)) us[done++] = (now_ns() - started) / 1e3;
        else failed++, error = *zts.error;
        zts.close(fd);
    }
    out[0] = done, out[1] = failed, out[2] = error, out[3] = (now_ns() - begin) / 1e9;
}

/* Opens and keeps connections, not faster than a libzt server takes them off its backlog; how many. */
int lab_hold(const char *ip, int port, int count, int *error) {
    Address to(ip, port);
    int i = 0, fd;
    *error = 0;
    for (; i < count && (fd = dial(to, error)) >= 0; i++) {
        held.push_back(fd);
        sleep_ns(1000000);
    }
    return i;
}
int lab_release() {
    int n = held.size();
    for (int fd : held) zts.close(fd);
    held.clear();
    return n;
}
}
