/** How much one client may take of each listener, so that neither slow nor many connections keep others from being served. */
export interface Limits {
  maximumConnections: number
  /** From one address. */
  connectionsPerAddress: number
  /** Then the reply says `Connection: close`, and the next connection may reach another replica. */
  requestsPerConnection: number
  /** That begin within one turn of the event loop. */
  handshakesPerTurn: number
  /** Also for the wait until it begins. */
  handshakeTimeoutMs: number
  headersTimeoutMs: number
  requestTimeoutMs: number
  /** For connections without a request under way. */
  keepAliveTimeoutMs: number
  headerBytes: number
  bodyBytes: number
  /** Of all bodies that are on their way at one time. */
  bodyBytesTogether: number
  /** How often the two timeouts of a request are looked at. */
  checkEveryMs: number
  /** How often the log is told of connections and bodies that were refused. */
  tellEveryMs: number
}

const common = {
  // Some four milliseconds of a processor.
  handshakesPerTurn: 8,
  handshakeTimeoutMs: 5_000,
  headersTimeoutMs: 5_000,
  headerBytes: 16 * 1024,
  checkEveryMs: 1_000,
  tellEveryMs: 1_000
}

export const limits = {
  webhook: {
    ...common,
    // An API server has at most 200 writes under way by default (--max-mutating-requests-inflight) and a connection for
    // each: HTTP/1.1. In managed clusters all of them may come from the one address of a tunnel.
    maximumConnections: 500,
    connectionsPerAddress: 250,
    requestsPerConnection: 10_000,
    // The API server gives up after at most 30 s, and after 10 s by default.
    requestTimeoutMs: 15_000,
    // Above the 90 s after which client-go drops an idle connection: whoever closes first must not be the server, or the
    // API server's next request meets a closed socket.
    keepAliveTimeoutMs: 120_000,
    bodyBytes: 7 * 1024 * 1024,
    // A pod has some 10 KB. Text in memory is as long as it came.
    bodyBytesTogether: 64 * 1024 * 1024
  },
  enrollment: {
    ...common,
    // A thousand pods may start at once, and each waits for its address for a few seconds. Their handshakes alone keep a
    // processor busy for as long: shorter limits would cut those that are served last, who then begin anew.
    maximumConnections: 2_000,
    // A pod has an address of its own, and asks over one connection at a time.
    connectionsPerAddress: 50,
    requestsPerConnection: 100,
    handshakeTimeoutMs: 20_000,
    headersTimeoutMs: 20_000,
    requestTimeoutMs: 30_000,
    keepAliveTimeoutMs: 15_000,
    bodyBytes: 16 * 1024,
    bodyBytesTogether: 16 * 1024 * 1024
  },
  preview: {
    ...common,
    // People and CI, who may all come from the one address of a proxy.
    maximumConnections: 200,
    connectionsPerAddress: 100,
    requestsPerConnection: 1_000,
    requestTimeoutMs: 30_000,
    keepAliveTimeoutMs: 30_000,
    bodyBytes: 1024 * 1024,
    bodyBytesTogether: 16 * 1024 * 1024
  },
  ops: {
    ...common,
    maximumConnections: 100,
    connectionsPerAddress: 50,
    requestsPerConnection: 1_000,
    requestTimeoutMs: 5_000,
    // Prometheus asks every 15 to 60 s.
    keepAliveTimeoutMs: 75_000,
    bodyBytes: 1,
    bodyBytesTogether: 1024
  }
} as const satisfies Record<string, Limits>
