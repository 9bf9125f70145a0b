// Package kms keeps the master keys of server-side encryption: their ids, versions and state, as records in an object of a
// pool. No record has key material. The material of a key's version comes by HKDF from a root key, which the
// administrator gives to the gateways alone, and the version's random salt, which lies in the record: so neither what
// monitors and OSDs keep nor what passes through them reveals a key, and a record that was removed takes its key along.
//
// Store changes the records; it needs no root key, so that a monitor can do it. Service is what a gateway uses: it has root
// keys and makes material. docs/formats/encryption.md has the bytes.
package kms
