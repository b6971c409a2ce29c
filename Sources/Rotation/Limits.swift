/// Every bound of jotd, with its unit and its reason.
package enum Limits {
  // Configuration

  /// Bytes of one configuration file: ten thousand identities take about 4 MiB.
  package static let configurationBytes = 16 << 20
  /// Nodes of one document after its aliases are followed: a 16 MiB file without aliases has
  /// fewer, an anchor bomb has more.
  package static let configurationNodes = 2_000_000
  /// Depth of nested collections, in a document and in a token: recursion stays shallow.
  package static let nesting = 32
  /// Errors shown at once: beyond this, the first ones have to be mended anyway.
  package static let errorsShown = 100

  // Identities

  /// Two seconds: `iat` and `exp` are whole seconds (RFC 7519 section 2 permits fractions, the
  /// verifiers in the field round them), so a shorter life can be over before it is read.
  package static let shortestLifetime = Duration.seconds(2)
  /// Ten years of systemd.time(7): beyond it a lifetime is a mistake.
  package static let longestLifetime = Duration.seconds(10 * 31_557_600)
  /// Deliveries of one identity: one bit each in the rotator's sets.
  package static let deliveries = 64
  /// Bytes of a user_id: it travels in every token and every journal entry.
  package static let userIDBytes = 256
  /// Bytes of a compact token, minted or verified. Clients send it in one HTTP header, whose
  /// usual bound is 8 KiB; four times that leaves room for generous services.
  package static let tokenBytes = 32 << 10

  // Rotation

  /// A rotation is due before the threshold by at least this part of the window ...
  package static let spreadLeast = (part: 0.02, atMost: Duration.seconds(180))
  /// ... and by no more than this one, so that rotations spread and tokens are not wasted.
  package static let spreadMost = (part: 0.10, atMost: Duration.seconds(900))
  /// First and last pause between tries: soon enough for a hiccup, rare enough for an outage.
  package static let firstRetry = Duration.seconds(1)
  package static let longestRetry = Duration.seconds(60)
  /// Each pause is stretched or shrunk by up to this part, so that failures do not march in step.
  package static let retryJitter = 0.1

  // Signing

  /// Bytes of key material in its own form or encoded: RFC 7518 section 3.2 asks for 32 to 64;
  /// the rest is room for passphrases.
  package static let secretBytes = 4096

  // Delivery

  /// Deliveries that run side by side while none hangs.
  package static let lanes = 4
  /// Lanes in all, hanging ones included: each costs a thread.
  package static let lanesInAll = 64
  /// A delivery that takes longer is taken for hanging: reported, and its lane replaced.
  package static let patience = Duration.seconds(2)
  /// Bytes of a file name (NAME_MAX) and of a path (PATH_MAX less the NUL).
  package static let nameBytes = 255
  package static let pathBytes = 4095
  /// Symbolic links followed in one path, as the kernel does (path_resolution(7)).
  package static let symbolicLinks = 40

  // Query socket

  /// Connections at once in all and of one user: room for a thousand held requests beside others.
  /// Beyond it, the connection that was silent longest makes room.
  package static let connections = 3_072
  package static let connectionsPerUser = 1_536
  /// Held requests of one user.
  package static let heldPerUser = 1_024
  /// How long a request may be held.
  package static let longestHold = Duration.seconds(3_600)
  /// How long a starting unit waits for its credential: systemd's own time for a start is 90 s.
  package static let credentialHold = Duration.seconds(80)
  /// From the first byte of a request, or the connection, to the end of the request: a person who
  /// types with nc(1) makes it, a client that trickles does not hold a place.
  package static let requestTime = Duration.seconds(10)
  /// Silence on a connection that is kept alive.
  package static let idleTime = Duration.seconds(60)
  /// Bytes of a request's body: a token in a form, with every byte escaped.
  package static let bodyBytes = 3 * tokenBytes + 1_024
  /// Bytes of all header fields together, and how many.
  package static let headerBytes = 16 << 10
  package static let headerFields = 100
  /// Refusals written to the journal in ten seconds for one user; more are counted.
  package static let refusalsLogged = 10

  // Hooks

  /// Hooks of one identity, and words of one command.
  package static let hooks = 16
  package static let hookWords = 64
  /// How long a command may run: a reload of a slow unit makes it, a hanging one is ended.
  package static let hookTime = Duration.seconds(30)
  /// Bytes of a command's output that go to the journal.
  package static let hookOutputBytes = 8 << 10
  /// Rotations within this time run a hook once.
  package static let hookGathering = Duration.milliseconds(100)
  /// Hooks that run side by side.
  package static let hookLanes = 8

  // Journal

  /// Entries that wait for a journal that does not read; beyond it they are counted and dropped,
  /// because a rotation must not wait for a log.
  package static let journalBacklog = 4096
  /// Messages that wait for a service manager that does not read.
  package static let notifyBacklog = 16
  /// How long a stopping daemon waits for running deliveries and unwritten entries: section 4 of
  /// the contract gives it a second in all.
  package static let farewell = Duration.milliseconds(400)
}
