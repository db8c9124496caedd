// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "nanoflow",
    products: [
        .library(name: "NanoFlow", targets: ["NanoFlow"]),
        .executable(name: "nanoflow", targets: ["NanoFlowCLI"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.0"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
    ],
    // Bottom to top: a target imports only what stands above it here.
    targets: [
        .target(name: "CNanoKernels"),
        .systemLibrary(
            name: "CPCRE2", pkgConfig: "libpcre2-8", providers: [.apt(["libpcre2-dev"])]),
        .systemLibrary(
            name: "CLiburing", pkgConfig: "liburing", providers: [.apt(["liburing-dev"])]),
        .systemLibrary(
            name: "CXXHash", pkgConfig: "libxxhash", providers: [.apt(["libxxhash-dev"])]),
        .systemLibrary(
            name: "CYAML", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),
        .target(name: "CNanoSystem", dependencies: ["CLiburing"]),
        .target(name: "NanoDevice", dependencies: ["CNanoKernels", "CNanoSystem", "CXXHash"]),
        .target(name: "NanoTokenizer", dependencies: ["CPCRE2"]),
        .target(name: "NanoModel", dependencies: ["CNanoKernels", "NanoDevice", "NanoTokenizer"]),
        .target(
            name: "NanoFlow",
            dependencies: [
                "CNanoKernels", "NanoDevice", "NanoTokenizer", "NanoModel",
                .product(name: "Crypto", package: "swift-crypto"),
            ]),
        .target(name: "NanoSearch", dependencies: ["NanoDevice", "NanoModel", "NanoFlow"]),
        .target(name: "NanoPage", resources: [.embedInCode("page.html")]),
        .target(
            name: "NanoServer",
            dependencies: [
                "NanoDevice", "NanoFlow", "NanoPage",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "Logging", package: "swift-log"),
            ]),
        .target(name: "NanoOptions", dependencies: ["CYAML"]),
        .target(
            name: "NanoClient",
            dependencies: [
                "NanoDevice", "NanoFlow",
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ]),
        .executableTarget(
            name: "NanoFlowCLI",
            dependencies: [
                "NanoDevice", "NanoTokenizer", "NanoModel", "NanoFlow", "NanoSearch",
                "NanoServer", "NanoOptions", "NanoClient",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ]),
        .executableTarget(
            name: "TenLineExample", dependencies: ["NanoFlow"], path: "Examples/TenLineExample"),

        .target(
            name: "NanoTestSupport",
            dependencies: ["NanoDevice", "NanoTokenizer", "NanoModel", "NanoFlow"],
            path: "Tests/NanoTestSupport"),
        .testTarget(
            name: "NanoKernelsTests", dependencies: ["CNanoKernels", "NanoTestSupport"]),
        .testTarget(
            name: "NanoDeviceTests",
            dependencies: ["NanoDevice", "CNanoKernels", "NanoTestSupport"]),
        .testTarget(
            name: "NanoTokenizerTests",
            dependencies: ["NanoTokenizer", "NanoModel", "NanoTestSupport"],
            exclude: ["Fixtures"]),
        .testTarget(
            name: "NanoModelTests",
            dependencies: ["NanoModel", "CNanoKernels", "NanoTestSupport"],
            exclude: ["Fixtures"]),
        .testTarget(
            name: "NanoFlowTests",
            dependencies: [
                "NanoFlow", "NanoModel", "NanoTokenizer", "NanoDevice", "NanoTestSupport",
            ],
            exclude: ["Fixtures"]),
        .testTarget(
            name: "NanoSearchTests",
            dependencies: [
                "NanoSearch", "NanoFlow", "NanoModel", "NanoDevice", "NanoTestSupport",
            ]),
        .testTarget(
            name: "NanoServerTests",
            dependencies: [
                "NanoServer", "NanoTestSupport",
                .product(name: "HummingbirdTesting", package: "hummingbird"),
            ]),
        .testTarget(name: "NanoFlowCLITests", dependencies: ["NanoOptions"]),
        .testTarget(
            name: "NanoClientTests",
            dependencies: [
                "NanoClient", "NanoDevice", "NanoFlow",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ]),
    ],
    swiftLanguageModes: [.v6],
    cLanguageStandard: .c17
)

// What stands on SwiftNIO is most of a build, and ThreadSanitizer looks at none of it.
if Context.environment["NANOFLOW_WITHOUT_SERVER"] != nil {
    let server = [
        "NanoPage", "NanoServer", "NanoOptions", "NanoClient", "NanoFlowCLI", "NanoServerTests",
        "NanoClientTests", "NanoFlowCLITests",
    ]
    package.targets.removeAll { server.contains($0.name) }
    package.products.removeAll { $0.name == "nanoflow" }
}

for target in package.targets where target.type != .system {
    if target.name.hasPrefix("C") {
        target.cSettings = [.treatAllWarnings(as: .error)]
    } else {
        target.swiftSettings = [
            .enableUpcomingFeature("ExistentialAny"),
            .enableUpcomingFeature("InternalImportsByDefault"),
            .enableUpcomingFeature("MemberImportVisibility"),
            .treatAllWarnings(as: .error),
        ]
    }
}
