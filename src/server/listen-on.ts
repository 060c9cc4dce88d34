import type { AddressInfo, Server } from 'node:net'

export type ListenErrorCode = 'PortInUse' | 'PortForbidden' | 'Address' | 'Listen'

/** A port cannot be had. The message names the setting that says which. */
export class ListenError extends Error {
  readonly code: ListenErrorCode

  constructor(code: ListenErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'ListenError'
    this.code = code
  }
}

export interface Place {
  /** As in the settings: `listen.NAME`. */
  name: string
  address: string
  port: number
  /** Connections that the system keeps until they are taken. Node's default is 511. */
  backlog?: number
}

export async function listenOn(server: Server, place: Place): Promise<AddressInfo> {
  try {
    return await listening(server, place)
  } catch (error) {
    // `::` stands for every address, also on a node whose kernel has no IPv6.
    if (place.address === '::' && hasNoIPv6(error)) {
      return await listening(server, { ...place, address: '0.0.0.0' })
    }
    throw listenError(error, place)
  }
}

function listening(server: Server, { address, port, backlog }: Place): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host: address, port, ...(backlog === undefined ? {} : { backlog }) }, () => {
      server.removeListener('error', reject)
      resolve(server.address() as AddressInfo)
    })
  })
}

function hasNoIPv6(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL'
}

export function listenError(cause: unknown, { name, address, port }: Place): ListenError {
  switch ((cause as NodeJS.ErrnoException).code) {
    case 'EADDRINUSE':
      return new ListenError(
        'PortInUse',
        `listen.${name}.port: another process has port ${port} at ${address}; set a free one`,
        { cause }
      )
    case 'EACCES':
      return new ListenError(
        'PortForbidden',
        `listen.${name}.port: this user may not take port ${port}; set one above 1023`,
        { cause }
      )
    case 'EADDRNOTAVAIL':
    case 'EAFNOSUPPORT':
      return new ListenError(
        'Address',
        `listen.${name}.address: this machine does not have the address ${address}`,
        { cause }
      )
    default:
      return new ListenError('Listen', `listen.${name}: the port cannot be opened`, { cause })
  }
}
