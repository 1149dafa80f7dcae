from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString

from .models import Category, Product


@admin.register(Category)
class CategoryAdmin(admin.ModelAdmin):
    list_display = ["name", "slug"]
    prepopulated_fields = {"slug": ["name"]}


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ["thumbnail", "title", "sku", "category", "condition", "price"]
    list_display_links = ["title"]
    list_filter = ["category", "condition"]
    list_select_related = ["category"]
    search_fields = ["title", "sku", "description"]

    @admin.display(description="")
    def thumbnail(self, product: Product) -> SafeString | str:
        if not product.image:
            return ""
        return format_html('<img src="{}" alt="" height="48" loading="lazy">', product.image.url)
