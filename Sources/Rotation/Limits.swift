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
  /// Bytes of a user_id or subject: it travels in every token and every journal entry.
  package static let bearerBytes = 256
  /// Bytes of a header's `typ`: RFC 6838 section 4.2 says that more than 64 are too many.
  package static let typeBytes = 64
  /// Bytes of a compact token, minted or verified. Clients send it in one HTTP header, whose
  /// usual bound is 8 KiB; four times that leaves room for generous services.
  package static let tokenBytes = 32 << 10
  /// Bytes of a template of `format: text`: a URL, or some lines of a client's configuration.
  package static let templateBytes = 4096
  /// How often the token may stand in it: a client reads few streams, and each is 32 KiB at most.
  package static let templateTokens = 16
  /// In how many ways at once what was found is read against a template: as it is done on the main
  /// queue, each byte is to cost no more than these comparisons.
  package static let templateReadings = 16
  /// The largest `max_bytes`: what the longest template has with as many of the longest tokens.
  package static let mostMaxBytes = UInt32(templateTokens * tokenBytes + templateBytes)

  // Rotation

  /// A rotation is due before the threshold by at least this part of the window, or so many
  /// microseconds where these are less ...
  package static let spreadLeast = (part: 0.02, atMost: 180e6)
  /// ... and by no more than these, so that rotations spread and tokens are not wasted.
  package static let spreadMost = (part: 0.10, atMost: 900e6)
  /// First and last pause between tries: soon enough for a hiccup, rare enough for an outage.
  package static let firstRetry = Duration.seconds(1)
  package static let longestRetry = Duration.seconds(60)
  /// Each pause is stretched or shrunk by up to this part, so that failures do not march in step.
  package static let retryJitter = 0.1

  // Signing

  /// Bytes of key material in its own form or encoded: RFC 7518 section 3.2 asks for 32 to 64;
  /// the rest is room for passphrases.
  package static let secretBytes = 4096

  /// Bytes of a file with a private key, encoded: one of RSA with 4,096 bits takes 3,300 in PEM;
  /// the rest is room for certificates beside it.
  package static let privateKeyBytes = 16 << 10
  /// Bytes of a passphrase: OpenSSL asks for no more (PEM_BUFSIZE, with the zero behind it).
  package static let passphraseBytes = 1023
  /// Bytes of a URI that names a key: RFC 7512 has some twenty attributes, most of them short.
  package static let keyURIBytes = 2048
  /// How long a device may take for one signature, or to open its key: a TPM takes a second for an
  /// RSA key, a remote module some more. In whole seconds, for alarm(2).
  package static let deviceTime = Duration.seconds(10)
  /// How long jotd waits for that: its helper comes to it first.
  package static let devicePatience = deviceTime + .seconds(2)
  /// How long a helper may live: its driver starts anew now and then.
  package static let deviceSession = Duration.seconds(300)
  /// How long a helper stays for more to sign: what holds a device keeps others from it.
  package static let deviceLinger = Duration.milliseconds(500)
  /// How long a device that did not answer is left alone: whoever waited behind the one that asked
  /// does not wait as long. Below the first pause before a try.
  package static let deviceRest = Duration.milliseconds(900)
  /// Passphrases of one device that are remembered as refused: more than anybody mistypes.
  package static let passphrasesRefused = 16
  /// How long a start, and a reload, wait for all devices together: what has not answered then is
  /// tried again, and the rest goes on.
  package static let devicesAtStart = Duration.seconds(3)
  /// Bytes of what a device says went wrong.
  package static let deviceWords = 400
  /// What a file with a private key may hold beside it: certificates, parameters.
  package static let objectsBesideKey = 16
  /// Bits of an RSA modulus: fewer are forbidden (RFC 7518 section 3.3); with more, a signature
  /// takes longer than 5 ms, and all identities wait for it.
  package static let rsaBits = 2048...4096
  /// Slow signatures that are made before others have their turn: with RSA of 4,096 bits, 12 ms on
  /// a fast processor, and some 200 ms on a small one, where a watchdog waits 30 s.
  package static let slowSignaturesAtOnce = 4

  /// Keys of one configuration: each takes a thread at each look, and a verifier may have to try
  /// all of them.
  package static let keys = 8
  /// Signers of a key that are still believed after they were replaced while jotd ran: whoever
  /// replaces a secret more often than that within the life of a token has a reason not to wait.
  package static let replacedSigners = 4
  /// Ends of tokens by what signed them. Where there are more, those that are over are forgotten,
  /// and then the earliest: the tokens of so many signers are about when somebody has replaced a
  /// secret more often within their lives.
  package static let endsRemembered = 256
  /// Bytes of a JWK Set: MediaMTX reads no more.
  package static let publicKeysBytes = 128 << 10
  /// Keys of a JWK Set that is read: providers have some ten; each is tried.
  package static let publishedKeys = 100
  /// How long others may keep the public keys: a verifier that does so has a changed one within
  /// that.
  package static let publicKeysAge = Duration.seconds(300)
  /// Keys of a ring that are not retired: two while one follows another; more, where an operator
  /// has them follow faster than their tokens end. All are in the set.
  package static let keyMembers = 8
  /// Retired keys of a ring that are remembered, for whoever asks what became of them.
  package static let retiredMembers = 8
  /// How long verifiers have to take notice of a key before it signs, where the configuration does
  /// not say: MediaMTX keeps a set for an hour.
  package static let publishAhead = Duration.seconds(7_200)
  /// What `rotate_every` has beside that at the least, to make a key and to publish it.
  package static let shortestRotation = Duration.seconds(1)
  /// Bytes of a ring's state: its members at most, each with an RSA key of 4,096 bits.
  package static let keyStateBytes = 128 << 10
  /// How long a piece of work at a ring's folder takes at most, unless something hangs: to make an
  /// RSA key of 2,048 bits takes a small processor some seconds.
  package static let keyWorkTime = Duration.seconds(30)
  /// How much longer than its tokens live a key stays published, for clocks that differ: at most,
  /// and no more than a tenth of that life.
  package static let keyMargin = Duration.seconds(60)
  /// How often a ring saves how much time it has seen, while something depends on it, at most; and
  /// no more than sixteen times for each wait. So much a boot of the machine loses.
  package static let keyStateAge = Duration.seconds(900)
  /// Bytes of a `kid`: it travels in every token.
  package static let kidBytes = 64

  /// Bytes of locked memory for keys: of each at most six signers, and two more while a reload is
  /// under way, each with some 6 KiB for the longest secret and 12 KiB for the longest RSA key,
  /// some 40 KiB for its first signature, and secrets that are read. Pages that nothing is in are
  /// not taken.
  package static let keyMemory = 4 << 20

  // Delivery

  /// Deliveries that run side by side on one file system: enough to keep a disk busy.
  package static let workersOfOneFileSystem = 4
  /// Results of deliveries into memory that are told of at once while more of them go on: some
  /// tenths of a millisecond of work, and each telling wakes a thread.
  package static let resultsAtOnce = 16
  /// Jobs of one file system that hang before nothing more begins on it: each costs a thread.
  package static let hangingOfOneFileSystem = 8
  /// Workers for all file systems together: each costs a thread while it works, and three
  /// descriptors.
  package static let workersInAll = 64
  /// What takes longer is taken for hanging: it is reported, and nothing more begins in its folder
  /// until it comes back.
  package static let stallTimeout = Duration.seconds(2)
  /// How long a thread waits for more work before it ends: bursts come seconds apart, and an idle
  /// process is to be small.
  package static let threadRest = Duration.seconds(5)
  /// How long until the main queue asks again for a thread that the host refused.
  package static let threadRetry = Duration.seconds(1)
  /// How long a caller asks, where the main queue does not: a stop has a second in all.
  package static let threadPatience = Duration.milliseconds(200)
  /// How long a disk may take for one file with its syncs: what a slow one needs. For a warning.
  package static let diskTime = Duration.milliseconds(10)
  /// Bytes of the kernel's table of mounts: a host of a thousand containers has less.
  package static let mountTableBytes = 4 << 20
  /// Folders whose mount point is remembered: more are looked up anew, which costs microseconds.
  package static let foldersKnown = 4_096
  /// Folders that one worker keeps open: jobs come in crowds, and mostly for few folders.
  package static let foldersKept = 2
  /// Bytes of a file name (NAME_MAX) and of a path (PATH_MAX less the NUL).
  package static let nameBytes = 255
  package static let pathBytes = 4095
  /// Folders that are watched for what others do there: each costs the kernel about a kilobyte, and
  /// 8,192 is what it grants a user at least.
  package static let watchedFolders = 8_192
  /// Reads of 16 KiB each that take changes from the kernel at once: as many as it keeps.
  package static let changeReads = 64
  /// From the first of some changes to when they are looked at: a busy folder wakes nobody more
  /// often.
  package static let changeGathering = Duration.milliseconds(20)
  /// How often one delivery is put back at most: so two programs that both want the place cost next
  /// to nothing.
  package static let putBackPause = Duration.seconds(1)
  /// Symbolic links followed in one path, as the kernel does (path_resolution(7)).
  package static let symbolicLinks = 40

  // Reload

  /// Reading a configuration takes longer than this only when a disk or a name service hangs: a
  /// file of the largest size takes seconds.
  package static let reloadTime = Duration.seconds(60)
  /// Reloads that hang at once, each with a thread; more are refused.
  package static let hangingReloads = 4

  // Query socket

  /// Connections of the query socket at once: room for a thousand held requests of one user, who
  /// may have half of them, beside others. Beyond it, whoever holds most makes room.
  package static let connections = 3_072
  /// Those of them that only operators get: for a person, a monitor, and what they start.
  package static let connectionsReserved = 64
  /// Connections of all token sockets at once: each lasts as long as it takes to read a token.
  package static let tokenConnections = 512
  /// Connections of the credential socket at once: units that start together.
  package static let credentialConnections = 256
  /// Connections of the sockets for public keys at once: verifiers fetch them once an hour or so.
  package static let publicKeyConnections = 128
  /// Descriptors that connections leave to rotations: two for each worker, hanging ones included,
  /// and the folders that it keeps, four for each hook, four for each key, whose file is read or
  /// whose device's helper begins, and 32 for the journal, timers and other files that are read.
  package static let descriptorsReserved =
    (2 + foldersKept) * workersInAll + 4 * hookWorkers + 4 * keys + 32
  /// Descriptors without which nothing starts: timers, queues, the journal, and a few for
  /// deliveries.
  package static let fewestDescriptors = 64
  /// Descriptors of a listening socket: two of the socket, and its folder's, or systemd's.
  package static let descriptorsOfListener = 3
  /// Connections that there may be where the host allows hardly any descriptors.
  package static let fewestConnections = 16
  /// Bytes that the kernel keeps for a caller who does not read, for each connection; its usual 208
  /// KiB would be half a gibibyte for all.
  package static let sendBufferBytes = 32 << 10
  /// The same for systemd, whose denials are a mebibyte: in pieces of that size, each in its turn
  /// beside a crowd, one would take a second. It is what the kernel allows without more ado.
  package static let credentialSendBufferBytes = 208 << 10
  /// Connections taken in at once, before those that are there are served again.
  package static let acceptedAtOnce: UInt = 256
  /// How long no connection is taken in after the host had no descriptor or no memory for one, or
  /// forbade it.
  package static let acceptPause = Duration.milliseconds(100)
  /// Held requests of one user.
  package static let heldPerUser = 1_024
  /// How long a request may be held.
  package static let longestHold = Duration.seconds(3_600)
  /// How long a request waits for the first token of an identity that a reload brought or changed:
  /// its places are looked at before, which takes milliseconds, or `stallTimeout` where a disk
  /// hangs.
  package static let firstTokenHold = Duration.seconds(10)
  /// How long a starting unit waits for its credential: systemd's own time for a start is 90 s.
  package static let credentialHold = Duration.seconds(80)
  /// How long it waits of that for a new token in place of one with too little life left: a disk
  /// that syncs makes it, and then the present one is better than none.
  package static let credentialRenewal = Duration.seconds(10)
  /// The part of an identity's lifetime that a credential can be asked to have at the least: of
  /// units that share an identity, each starts again for a token that another one's start made, and
  /// must then find it good, or they would go on for ever.
  package static let credentialLife = 0.75
  /// Pairs of a unit and an identity of which it is remembered what was handed out, each with some
  /// hundred bytes: beyond it all are forgotten, and units are restarted that need not be.
  package static let handedOut = 4_096
  /// From the first byte of a request, or the connection, to the end of the request: a person who
  /// types with nc(1) makes it, a client that trickles does not hold a place.
  package static let requestTime = Duration.seconds(10)
  /// Silence on a connection that is kept alive.
  package static let idleTime = Duration.seconds(60)
  /// Bytes of a request's body: a token in a form, with every byte escaped.
  package static let bodyBytes = 3 * tokenBytes + 1_024
  /// Bytes that longer bodies of one user, and of all, may take while they come in: a hundred at
  /// once of one user.
  package static let bodiesPerUser = 10 << 20
  package static let bodies = 40 << 20
  /// Bytes of all header fields together, how many, and bytes of a head with its target.
  package static let headerBytes = 16 << 10
  package static let headerFields = 100
  package static let headBytes = headerBytes + 8 << 10
  /// Bytes read at once: most requests fit, and a thousand connections take few megabytes.
  package static let receivedBytes = 4 << 10
  /// How long callers' requests are worked on before connections are taken in and bytes are moved
  /// again.
  package static let slice = Duration.milliseconds(2)
  /// Bytes kept of requests that were sent before the last one was answered.
  package static let heldBytes = 16 << 10
  /// Bytes of answers on their way to one user, and in all: at 10,000 identities an answer takes
  /// up to 8 MiB. One answer at a time every user gets.
  package static let sentBytesPerUser = 16 << 20
  package static let sentBytes = 64 << 20
  /// How long an answer may be on its way while another of the same user waits for its memory.
  package static let unreadAnswerTime = Duration.seconds(1)
  /// How long, and how many bytes, of a refused request are read and thrown away, so that its
  /// client reads the answer before the end.
  package static let drainTime = Duration.seconds(2)
  package static let drainedBytes = 8 << 20
  /// Once this many connections ended, or bytes were sent, memory is given back to the host.
  package static let crowd = 32
  package static let crowdBytes = 1 << 20
  /// How long after that: what follows at once is waited for.
  package static let calm = Duration.seconds(1)
  /// Denials written to the journal in ten seconds for one user; more are counted.
  package static let refusalsLogged = 10
  /// How long a refusal waits for the user's name before it is told by number: name services answer
  /// in milliseconds, or hang.
  package static let nameTime = Duration.seconds(1)
  /// Names that are being looked up, and names that are remembered, each for so long.
  package static let namesSought = 64
  package static let namesKnown = 256
  package static let nameAge = Duration.seconds(300)

  // Commands that ask the daemon

  /// How long a command waits for the daemon's whole answer, and `health`, which monitoring calls.
  package static let answerTime = Duration.seconds(15)
  package static let healthTime = Duration.seconds(5)
  /// And a shell that completes a name while somebody types.
  package static let completionTime = Duration.seconds(1)
  /// How long one request of `token --wait` is held: so often a daemon that is stuck is noticed.
  package static let commandHold = Duration.seconds(300)
  /// First and last pause before `token --wait` asks a daemon again that is away.
  package static let firstAsk = Duration.milliseconds(200)
  package static let longestAsk = Duration.seconds(5)
  /// Bytes of an answer: the health of 100,000 identities takes about 35 MiB.
  package static let answerBytes = 64 << 20

  // Check

  /// How long `check` may run as the service, which waits for folders that hang as long as
  /// something comes back.
  package static let checkTime = Duration.seconds(60)
  /// Bytes of what it prints then: as many errors as are shown, with two of the longest paths each.
  package static let checkOutputBytes = 1 << 20
  /// How long systemctl and systemd-run may take for their own part, and the bytes of an answer.
  package static let systemdTime = Duration.seconds(10)
  package static let systemdBytes = 256 << 10

  // Hooks

  /// Hooks of one identity, and words of one command.
  package static let hooks = 16
  package static let hookWords = 64
  /// How long a command may run: a reload of a slow unit makes it, a hanging one is ended.
  package static let hookTime = Duration.seconds(30)
  /// How long a command that was killed may take to end: longer takes only what cannot be killed.
  package static let hookKill = Duration.seconds(1)
  /// Bytes of all words of a command: with `hookVariableBytes` they stay below the 128 KiB that
  /// Linux allows in any case (execve(2)), for one string and for all.
  package static let hookCommandBytes = 64 << 10
  /// Bytes of JOTD_IDENTITIES; beyond it the names are on the standard input alone.
  package static let hookVariableBytes = 32 << 10
  /// Bytes of a command's output that go to the journal, and lines.
  package static let hookOutputBytes = 8 << 10
  package static let hookOutputLines = 100
  /// Pause after each 64 KiB (one pipe's fill) of further output that is thrown away: a command
  /// that prints for ever costs ten reads a second.
  package static let hookPause = Duration.milliseconds(100)
  /// From a rotation, or the end of the hook's last run, to its next run: all rotations meanwhile
  /// run it once.
  package static let hookGathering = Duration.milliseconds(100)
  /// Hooks that run side by side while none hangs.
  package static let hookWorkers = 8
  /// A hook that takes longer makes room for another beside it: most reload a service in less.
  package static let hookStallTimeout = Duration.seconds(2)
  /// Hooks at work in all, hanging ones included: each costs a thread and a process.
  package static let hooksAtWork = 32
  /// Beside these, hooks that had to be ended the last time: strangers never wait for them again.
  package static let slowHooks = 32
  /// Bytes of a pid file: a number, and what some programs write after it.
  package static let pidFileBytes = 64

  // Journal, errors and status

  /// Bytes of one text from outside in a log, an error or a status page: two of the longest paths.
  package static let shownBytes = 2 * (pathBytes + 1)
  /// Bytes of a reason in the one line that systemd shows: its place and what is wrong there.
  package static let statusReason = 300
  /// Names in one message; the rest are counted.
  package static let namesShown = 10
  /// Entries that wait for a journal that has not read for `stallTimeout`; beyond it they are
  /// counted and dropped, because a rotation must not wait for a log.
  package static let journalBacklog = 4096
  /// The same for one that does: what a start of 100,000 identities has to say at once, in some 16
  /// MiB that are given back.
  package static let journalBurst = 131_072
  /// Entries that are taken at once where many wait: about as many lines as go into one write.
  package static let linesAtOnce = 24
  /// Bytes of lines in one write, if there are several: what a pipe takes whole (PIPE_BUF of
  /// pipe(7)).
  package static let pipeBytes = 4096
  /// Messages that wait for a service manager that does not read.
  package static let notifyBacklog = 16
  /// How long a stopping daemon waits for running deliveries and hooks; then half of it for the
  /// journal and half for systemd, so that it ends within a second.
  package static let shutdownGrace = Duration.milliseconds(400)
}
