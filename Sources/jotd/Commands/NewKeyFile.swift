import ArgumentParser
import Glibc
import Rotation

/// Where a new secret or private key goes.
struct NewKeyFile: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Write it to this new file, which only its owner may read; nothing is ever overwritten.",
      valueName: "file"), completion: .file())
  var output: String?

  /// Writes `text` to the new file, or prints it.
  func write(_ text: String) throws {
    guard let output else { return printRaw(text) }
    do throws(Failure) { try FileSystem.createOwnerOnly(output, Array(text.utf8)) } catch {
      printNote(
        error.code == EEXIST
          ? "\(output) is there already, and is left as it is: name a new file"
          : "\(output) cannot be written: \(error)")
      throw ExitCode.cannotCreate
    }
  }
}
