import CSystemd
import Dispatch
import Glibc
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

  /// Writes the entry of an event, soon.
  func report(_ event: Event) { write(JournalEntry(event)) }

  /// Writes an entry, soon.
  func write(_ entry: JournalEntry) {
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
      self.put(entry)
      let dropped = self.state.withLock { state in
        state.waiting -= 1
        defer { if state.waiting == 0 { state.dropped = 0 } }
        return state.waiting == 0 ? state.dropped : 0
      }
      if dropped > 0 {
        self.put(
          JournalEntry(
            .warning, "\(dropped) journal entries were dropped: the journal did not read"))
      }
    }
  }

  /// Waits until all entries are written, or for `limit`.
  func flush(within limit: Duration) {
    let done = DispatchSemaphore(value: 0)
    queue.async { done.signal() }
    _ = done.wait(timeout: .now() + .microseconds(Int(limit.microseconds)))
  }

  private func put(_ entry: JournalEntry) {
    switch target {
    case .journald:
      Journal.send(
        [
          ("MESSAGE", entry.message), ("PRIORITY", String(entry.priority.rawValue)),
          ("SYSLOG_IDENTIFIER", "jotd"),
        ] + entry.fields)
    case .lines(let isTerminal):
      let mark = entry.priority <= .warning ? "\(entry.priority): " : ""
      var line = "\(Instant.now.rfc3339) \(mark)\(redacted(entry.message))\n"
      if isTerminal, entry.priority <= .warning {
        let color = entry.priority <= .error ? "\u{1b}[31m" : "\u{1b}[33m"
        line = color + line.dropLast() + "\u{1b}[0m\n"
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
