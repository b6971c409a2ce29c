import ArgumentParser
import Glibc
import Rotation

/// The process that holds a device's driver, so that whatever that does, hang or crash, is done
/// there. jotd starts it, and talks to it on its standard input (`DeviceMessage`); it ends when
/// jotd hangs up, when the device takes too long, and after the first thing that fails.
struct DeviceHelper: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: DeviceMessage.helper, abstract: "Sign with a key in a device, for jotd itself.",
    shouldDisplay: false)

  func run() throws {
    Hardening.apply()
    Secret.arena
    let jotd = Descriptor(owning: 0)
    guard let bytes = try jotd.packet(upTo: Limits.keyURIBytes + 64),
      let opening = DeviceMessage.Opening(bytes)
    else { throw ExitCode.badData }
    DeviceHelper.limitTime()
    let passphrase =
      try opening.hasPassphrase
      ? Secret(packetFrom: jotd, upTo: Limits.passphraseBytes) : nil
    let key: DeviceKey
    do throws(DeviceKey.Refusal) {
      key = try DeviceKey(opening.uri, opening.algorithm, passphrase: passphrase)
      try jotd.answer(.publicKey(key.publicKey()))
    } catch {
      jotd.answer(DeviceHelper.answer(error, "it cannot be opened, if it is there"))
      throw ExitCode.unavailable
    }
    while true {
      alarm(0)
      let message = try jotd.packet(upTo: Limits.tokenBytes)
      // Also for what the driver does at its end.
      DeviceHelper.limitTime()
      guard let message else { return }
      do throws(DeviceKey.Refusal) { jotd.answer(.signature(try key.sign(message))) } catch {
        jotd.answer(DeviceHelper.answer(error, "it does not sign"))
        throw ExitCode.unavailable
      }
    }
  }

  /// The kernel ends this process when what follows takes longer (alarm(2)).
  private static func limitTime() { alarm(UInt32(Limits.deviceTime.components.seconds)) }

  private static func answer(
    _ refusal: DeviceKey.Refusal, _ what: String
  ) -> DeviceMessage.Answer {
    switch refusal {
    case .passphrase(let words): .passphraseRefused(words)
    case .other(let words): .failed("\(what) (\(words))")
    }
  }
}

extension Descriptor {
  /// To a jotd that may be gone.
  fileprivate func answer(_ answer: DeviceMessage.Answer) { try? send(packet: answer.bytes) }
}
