import Dispatch
import Glibc
import Rotation
import Synchronization

/// A helper that has opened a key, and signs with it.
final class DeviceProcess: Sendable {
  /// Why it did not do what it was asked.
  enum Fault: Error {
    /// The device refuses the passphrase.
    case passphrase(Failure)
    case other(Failure)
    /// It is gone, and another may do it.
    case gone(Failure)

    var failure: Failure {
      switch self {
      case .passphrase(let failure), .other(let failure), .gone(let failure): failure
      }
    }
  }

  /// As `DeviceMessage.Answer.publicKey` has it.
  let publicKey: [UInt8]
  private let socket: Descriptor
  private let end: End

  /// How the process ended, once it has.
  private final class End: Sendable {
    let failure = Mutex<Failure?>(nil)
    let group = DispatchGroup()
  }

  private static let processes = ProcessRunner()

  /// Starts one for the key of `opening`, which is opened with `passphrase`.
  init(_ opening: DeviceMessage.Opening, _ passphrase: Secret?) throws(Fault) {
    let end = End()
    self.end = end
    socket = try DeviceProcess.start(opening, passphrase, end)
    let answer = try DeviceProcess.answer(socket, end)
    guard case .publicKey(let key) = answer else { throw DeviceProcess.fault(answer) }
    publicKey = key
  }

  /// The signature of `message`.
  func sign(_ message: [UInt8]) throws(Fault) -> [UInt8] {
    do throws(Failure) { try socket.send(packet: message) } catch { throw .gone(error) }
    let answer = try DeviceProcess.answer(socket, end)
    guard case .signature(let signature) = answer else { throw DeviceProcess.fault(answer) }
    return signature
  }

  private static func start(
    _ opening: DeviceMessage.Opening, _ passphrase: Secret?, _ end: End
  ) throws(Fault) -> Descriptor {
    do throws(Failure) {
      let ends = try Descriptor.packets()
      let input = ends.theirs.release()
      Threads.run(in: end.group) { run(input, end) }
      try ends.ours.send(packet: opening.bytes)
      if let passphrase { try passphrase.write(to: ends.ours) }
      return ends.ours
    } catch { throw .other(error) }
  }

  /// Runs a helper until its end, with `input` as its standard input.
  private static func run(_ input: Int32, _ end: End) {
    do throws(Failure) {
      let (how, _) = try processes.run(
        ["/proc/self/exe", DeviceMessage.helper], environment: Environment.forHelpers,
        input: Descriptor(owning: input), limit: Limits.deviceSession)
      end.failure.withLock { $0 = failure(how) }
    } catch { end.failure.withLock { $0 = error } }
  }

  /// Nil for an end without a fault.
  private static func failure(_ end: ProcessRunner.End) -> Failure? {
    switch end {
    case .exit(0): nil
    case .exit(let status): Failure("its helper ended with the exit status \(status)")
    case .signal(SIGALRM), .late, .immortal: unanswered
    case .signal(let number): Failure("its driver crashed (signal \(number))")
    }
  }

  private static var unanswered: Failure {
    Failure(
      "it does not answer within \(Limits.deviceTime.timeSpan): the device hangs, or is busy with "
        + "another program")
  }

  private static func answer(
    _ socket: borrowing Descriptor, _ end: End
  ) throws(Fault) -> DeviceMessage.Answer {
    let packet: [UInt8]?
    do throws(Failure) {
      packet = try socket.packet(upTo: Limits.privateKeyBytes, within: Limits.devicePatience)
    } catch { throw .other(error.code == EAGAIN ? unanswered : error) }
    if let packet, let answer = DeviceMessage.Answer(packet) { return answer }
    // Why it is gone is known a moment later.
    _ = end.group.wait(timeout: .now() + Limits.hookKill.interval)
    throw .gone(end.failure.withLock(\.self) ?? Failure("its helper has ended"))
  }

  private static func fault(_ answer: DeviceMessage.Answer) -> Fault {
    switch answer {
    case .passphraseRefused(let words): .passphrase(Failure(words))
    case .failed(let words): .other(Failure(words))
    case .publicKey, .signature: .other(Failure("its helper speaks out of turn"))
    }
  }
}
