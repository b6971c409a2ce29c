import CSystemd
import Dispatch
import Glibc
import Logging
import Rotation
import Synchronization

/// Where log entries go: journald, by its native protocol (sd_journal_sendv(3)), when standard
/// error is connected to it, and readable lines on standard error otherwise.
///
/// Entries are written on a queue of their own, because neither a journald that does not read
/// nor a blocked terminal may delay a rotation. When `Limits.journalBacklog` entries wait,
/// further ones are counted and dropped.
final class Journal: Sendable {
  private enum Target {
    case journald
    case lines(isTerminal: Bool)
  }

  private struct State {
    var waiting = 0
    var dropped = 0
  }

  private let target: Target
  private let queue = DispatchQueue(label: "jotd.journal")
  private let state = Mutex(State())

  /// Whether entries go to journald.
  var isJournald: Bool { if case .journald = target { true } else { false } }

  /// Looks at standard error to choose the target.
  init() {
    target = Journal.isConnected ? .journald : .lines(isTerminal: isatty(2) == 1)
  }

  /// Writes an entry, soon. `fields` have names as in systemd.journal-fields(7).
  func write(_ level: Logger.Level, _ message: String, _ fields: [(name: String, value: String)]) {
    let isFull = state.withLock { state in
      if state.waiting >= Limits.journalBacklog {
        state.dropped += 1
        return true
      }
      state.waiting += 1
      return false
    }
    if isFull { return }
    queue.async {
      self.put(level, message, fields)
      let dropped = self.state.withLock { state in
        state.waiting -= 1
        defer { if state.waiting == 0 { state.dropped = 0 } }
        return state.waiting == 0 ? state.dropped : 0
      }
      if dropped > 0 {
        self.put(.warning, "\(dropped) journal entries were dropped: the journal did not read", [])
      }
    }
  }

  /// Waits until all entries are written, or for `limit`.
  func flush(within limit: Duration) {
    let done = DispatchSemaphore(value: 0)
    queue.async { done.signal() }
    _ = done.wait(timeout: .now() + .microseconds(Int(limit.microseconds)))
  }

  private func put(
    _ level: Logger.Level, _ message: String, _ fields: [(name: String, value: String)]
  ) {
    switch target {
    case .journald:
      Journal.send(
        [
          ("MESSAGE", message), ("PRIORITY", String(level.priority)),
          ("SYSLOG_IDENTIFIER", "jotd"),
        ] + fields)
    case .lines(let isTerminal):
      let mark = level >= .warning ? "\(level): " : ""
      var line = "\(Instant.now.rfc3339) \(mark)\(redacted(message))\n"
      if isTerminal, level >= .warning {
        line = (level >= .error ? "\u{1b}[31m" : "\u{1b}[33m") + line.dropLast() + "\u{1b}[0m\n"
      }
      writeToStandardError(line)
    }
  }

  private static func send(_ fields: [(name: String, value: String)]) {
    let bytes = fields.map { Array("\($0.name)=\(redacted($0.value))".utf8) }
    var vectors: [iovec] = unsafe []
    unsafe vectors.reserveCapacity(bytes.count)
    // One array holds all bytes, so that every vector points into what lives until the call ends.
    let joined = bytes.flatMap(\.self)
    unsafe joined.withUnsafeBytes { buffer in
      var start = 0
      for field in bytes {
        unsafe vectors.append(
          iovec(
            iov_base: UnsafeMutableRawPointer(mutating: buffer.baseAddress! + start),
            iov_len: field.count))
        start += field.count
      }
      _ = unsafe sd_journal_sendv(vectors, Int32(vectors.count))
    }
  }

  /// Whether standard error is the stream that systemd connected to the journal
  /// (systemd.exec(5), JOURNAL_STREAM).
  private static var isConnected: Bool {
    guard let stream = Environment["JOURNAL_STREAM"] else { return false }
    var found = stat()
    guard unsafe fstat(2, &found) == 0 else { return false }
    return stream == "\(found.st_dev):\(found.st_ino)"
  }
}

/// Joins swift-log to the journal: metadata become fields.
struct JournalHandler: LogHandler {
  let journal: Journal
  var metadata: Logger.Metadata = [:]
  var metadataProvider: Logger.MetadataProvider?
  var logLevel = Logger.Level.info

  init(_ journal: Journal) { self.journal = journal }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    let all = metadata.merging(event.metadata ?? [:]) { _, new in new }
    journal.write(
      event.level, event.message.description,
      all.sorted { $0.key < $1.key }.map { ($0.key, $0.value.description) })
  }
}

extension Logger {
  /// Logs an event as its journal entry.
  func report(_ event: Event) {
    let entry = JournalEntry(event)
    var metadata: Logger.Metadata = ["MESSAGE_ID": "\(entry.messageID)"]
    for field in entry.fields { metadata[field.name] = "\(field.value)" }
    log(level: entry.level, "\(entry.message)", metadata: metadata)
  }
}

extension Logger.Level {
  /// The priority of syslog(3).
  fileprivate var priority: Int {
    switch self {
    case .trace, .debug: 7
    case .info: 6
    case .notice: 5
    case .warning: 4
    case .error: 3
    case .critical: 2
    }
  }
}
