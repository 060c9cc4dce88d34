# One image for the servers and for the init container that is injected into Ray pods: Node, the libraries that it loads,
# and the bundle. No shell, no package manager.
ARG NODE_IMAGE=docker.io/library/node:24-bookworm-slim
# the same Node with a compiler
ARG BUILD_IMAGE=docker.io/library/node:24-bookworm

# The way to the library of an HSM is native code. Here it is no option: an image without it would not say so until it is
# needed.
FROM ${BUILD_IMAGE} AS native
WORKDIR /native
COPY package.json package-lock.json ./
RUN set -eu; npm ci --ignore-scripts --omit=dev --no-audit --no-fund; npm rebuild --no-audit --no-fund pkcs11js; \
    node -e "new (require('pkcs11js').PKCS11)()"; \
    mkdir -p pkcs11js/build/Release; cd node_modules/pkcs11js; \
    cp package.json index.js LICENSE /native/pkcs11js/; cp build/Release/pkcs11.node /native/pkcs11js/build/Release/

FROM ${NODE_IMAGE} AS build
WORKDIR /build
COPY package.json package-lock.json ./
# esbuild's binary comes as a package of its own, so nothing has to run on installation
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tools tools
COPY src src
RUN node tools/build.mjs
COPY --from=native /native/pkcs11js pkcs11js

# What the last stage holds. `ldd` names the loader and every library of the node binary.
RUN set -eu; root=/root-of-image; mkdir -p $root/usr/local/bin $root/opt/rayguard $root/etc/ssl/certs $root/tmp; \
    cp /usr/local/bin/node $root/usr/local/bin/; \
    ldd /usr/local/bin/node | grep -o '/[^ ]*' | sort -u | xargs -I{} cp -L --parents {} $root; \
    ldd pkcs11js/build/Release/pkcs11.node | grep -o '/[^ ]*' | sort -u | xargs -I{} cp -L --parents {} $root; \
    cp -r dist/. $root/opt/rayguard/; \
    mkdir $root/opt/rayguard/node_modules; cp -r pkcs11js $root/opt/rayguard/node_modules/; \
    echo '{ "type": "module" }' >$root/opt/rayguard/package.json; \
    sed -i '1s|^#!.*|#!/usr/local/bin/node|' $root/opt/rayguard/rayguard.js; \
    ln -s /opt/rayguard/rayguard.js $root/usr/local/bin/rayguard; \
    echo 'rayguard:x:65532:65532::/:/sbin/nologin' >$root/etc/passwd; \
    echo 'rayguard:x:65532:' >$root/etc/group; \
    chmod 1777 $root/tmp; chmod -R a=rX,u+w $root/opt/rayguard; chmod 755 $root/opt/rayguard/rayguard.js

FROM scratch
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="rayguard" \
      org.opencontainers.image.description="Mutual TLS and the restricted Pod Security Standard for Ray pods on Kubernetes" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /root-of-image /
ENV PATH=/usr/local/bin NODE_ENV=production
USER 65532:65532
ENTRYPOINT ["rayguard"]
CMD ["serve"]
