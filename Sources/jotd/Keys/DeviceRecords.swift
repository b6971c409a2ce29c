import Rotation
import Synchronization

/// What this process remembers of each device (`KeyURI.device`), so that none is harmed, and those
/// who come after one that waited in vain do not wait, too.
enum DeviceRecords {
  private struct Record {
    /// The passphrases that it has refused; nil for a PIN that stands in a URI. None is tried
    /// again: a few wrong ones lock a device for good.
    var refused: [Secret?] = []
    var refusal: Failure?
    /// Until when it is left alone because it did not answer, and what is said meanwhile.
    var rest: (until: ContinuousClock.Instant, failure: Failure)?
    /// The last helper that could not be ended.
    var immortal: Int32?
  }

  private static let records = Mutex<[String: Record]>([:])

  /// One at a time opens a key of a device, and knows what became of those before.
  private final class Gate: Sendable {
    let lock = Mutex(())
  }

  private static let gates = Mutex<[String: Gate]>([:])

  /// Opens the key at `uri` by `open`, if `check` lets it.
  static func opening<Value>(
    _ uri: KeyURI, _ passphrase: Secret?, _ open: () throws(Failure) -> Value
  ) throws(Failure) -> Value {
    let gate = gates.withLock { gates in
      let gate = gates[uri.device] ?? Gate()
      gates[uri.device] = gate
      return gate
    }
    return try gate.lock.withLock { _ throws(Failure) in
      try check(uri, passphrase)
      return try open()
    }
  }

  /// Throws where the device at `uri` is not to be asked, with `passphrase` to open it.
  private static func check(_ uri: KeyURI, _ passphrase: Secret?) throws(Failure) {
    guard let record = records.withLock({ $0[uri.device] }) else { return }
    if let refusal = record.refusal,
      record.refused.contains(where: { DeviceRecords.areSame($0, passphrase) })
    {
      throw refusal
    }
    if let rest = record.rest, rest.until > .now { throw rest.failure }
    if let pid = record.immortal, DeviceProcess.isThere(pid) {
      throw Failure("its helper, the process \(pid), hangs in the kernel and cannot be ended")
    }
  }

  /// It has refused `passphrase`, with these words. Gives what is to be said of it.
  static func note(refused passphrase: Secret?, _ uri: KeyURI, _ words: Failure) -> Failure {
    let told = Failure(
      "the device refuses the \(passphrase == nil ? "PIN" : "passphrase") (\(words)). It is not "
        + "tried again, because a few wrong ones lock a device: correct it, or reload jotd where "
        + "it is right by now")
    records.withLock { records in
      records[uri.device, default: Record()].refused.append(passphrase)
      records[uri.device]?.refusal = told
      if let count = records[uri.device]?.refused.count, count > Limits.passphrasesRefused {
        records[uri.device]?.refused.removeFirst()
      }
    }
    return told
  }

  /// It did not answer; `immortal` is the helper that asked it, if that could not be ended.
  static func note(unanswered failure: Failure, _ uri: KeyURI, immortal: Int32?) {
    records.withLock { records in
      var record = records[uri.device] ?? Record()
      record.rest = (.now + Limits.deviceRest, failure)
      record.immortal = immortal ?? record.immortal
      records[uri.device] = record
    }
  }

  /// Somebody asks for all to be tried once more.
  static func forgetRefusals() {
    records.withLock { records in
      for device in records.keys {
        records[device]?.refused = []
        records[device]?.refusal = nil
      }
    }
  }

  private static func areSame(_ one: Secret?, _ other: Secret?) -> Bool {
    if let one, let other { one.isSame(as: other) } else { one == nil && other == nil }
  }
}
